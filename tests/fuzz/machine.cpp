// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <memory>

namespace erdma::fuzz {

// ---- memory ----

std::byte* Ram::at(uint64_t address, size_t length) {
    if (address >= kHigh)
        address -= kHigh;
    if (address >= kBytes || length > kBytes - address)
        return nullptr;
    const uint64_t last = length == 0 ? address : address + length - 1;
    for (uint64_t page = address / kPage; page <= last / kPage; ++page) {
        if (blocked_[page])
            return nullptr;
        touched_[page] = true;
    }
    return bytes_.data() + address;
}

void Ram::clear() {
    blocked_.reset();
    if (touched_.none())
        return;
    for (uint64_t page = 0; page < touched_.size(); ++page)
        if (touched_[page])
            std::memset(bytes_.data() + page * kPage, 0, kPage);
    touched_.reset();
}

void Ram::put(uint64_t address, std::span<const std::byte> octets) {
    if (std::byte* to = at(address, octets.size()); to && !octets.empty())
        std::memcpy(to, octets.data(), octets.size());
}

void Ram::put16(uint64_t address, uint16_t value) {
    std::array<std::byte, 2> raw{};
    storeLe16(raw, 0, value);
    put(address, raw);
}

void Ram::put32(uint64_t address, uint32_t value) {
    std::array<std::byte, 4> raw{};
    storeLe32(raw, 0, value);
    put(address, raw);
}

void Ram::put64(uint64_t address, uint64_t value) {
    std::array<std::byte, 8> raw{};
    storeLe64(raw, 0, value);
    put(address, raw);
}

uint32_t Ram::get32(uint64_t address) {
    const std::byte* from = at(address, 4);
    return from ? loadLe32({from, 4}, 0) : 0;
}

uint64_t Ram::get64(uint64_t address) {
    const std::byte* from = at(address, 8);
    return from ? loadLe64({from, 8}, 0) : 0;
}

namespace {

// Cleared instead of allocated anew: that is most of the time that a small input takes.
Ram& memoryOf(unsigned slot) {
    static std::array<Ram, 2> memories;
    Ram& ram = memories.at(slot);
    ram.clear();
    return ram;
}

} // namespace

// ---- callbacks ----

std::byte* Machine::reach(uint64_t address, size_t length) {
    FUZZ_CHECK(!quiet_, "memory access after RESET");
    called(length);
    return busMaster ? ram_.at(address, length) : nullptr;
}

void Machine::called(size_t octets) {
    FUZZ_CHECK(!destroyed_, "callback after erdma_dev_destroy()");
    if (depth_ == 0) // while the adapter is made or destroyed
        return;
    octets_ += octets;
    FUZZ_CHECK(++calls_ <= WorkLimits{}.calls, "too many callbacks in one entry");
    FUZZ_CHECK(octets_ <= WorkLimits{}.octets, "too much data moved in one entry");
}

struct Machine::Callbacks {
    static Machine& self(void* opaque) { return *static_cast<Machine*>(opaque); }

    static bool read(void* opaque, uint64_t address, void* out, size_t length) {
        const std::byte* from = self(opaque).reach(address, length);
        if (!from)
            return false;
        std::memcpy(out, from, length);
        return true;
    }
    static bool write(void* opaque, uint64_t address, const void* in, size_t length) {
        Machine& machine = self(opaque);
        std::byte* to = machine.reach(address, length);
        if (!to)
            return false;
        machine.checkSeal(address, length);
        if (machine.onWrite)
            machine.onWrite(address, length);
        std::memcpy(to, in, length);
        return true;
    }
    static bool atomic(void* opaque, uint64_t address, erdma_atomic_op op, uint64_t operand, uint64_t compare,
                       uint64_t* old) {
        Machine& machine = self(opaque);
        FUZZ_CHECK(address % 8 == 0, "atomic access that is not aligned");
        if (!machine.reach(address, 8))
            return false;
        *old = machine.ram_.get64(address);
        if (op == ERDMA_ATOMIC_ADD || *old == compare) {
            machine.checkSeal(address, 8);
            machine.ram_.put64(address, op == ERDMA_ATOMIC_ADD ? *old + operand : operand);
        }
        return true;
    }
    static void raise(void* opaque, unsigned vector) {
        Machine& machine = self(opaque);
        machine.called(0);
        FUZZ_CHECK(vector < ERDMA_MAX_VECTORS, "interrupt vector that does not exist");
        FUZZ_CHECK(!machine.quiet_, "interrupt after RESET");
        ++machine.interrupts;
        if (machine.onInterrupt && machine.alive())
            machine.onInterrupt();
    }
    static uint64_t now(void* opaque) {
        FUZZ_CHECK(!self(opaque).destroyed_, "callback after erdma_dev_destroy()");
        return self(opaque).clock_;
    }
    static void armTimer(void* opaque, uint64_t deadline) {
        self(opaque).called(0);
        self(opaque).timerAt = deadline;
    }
    static void schedule(void* opaque) {
        self(opaque).called(0);
        self(opaque).scheduled = true;
    }
    static void barrier(void* opaque) { self(opaque).called(0); }
    static void trace(void* opaque, erdma_trace_kind, const uint64_t[3], const char* text) {
        self(opaque).called(0);
        FUZZ_CHECK(text != nullptr, "trace without text");
    }
    static void guestError(void* opaque, const char* text) {
        self(opaque).called(0);
        FUZZ_CHECK(text != nullptr && *text != 0, "guest error without text");
    }
    static void sendFrame(void* opaque, erdma_side side, const void* frame, size_t length, const erdma_offload*) {
        Machine& machine = self(opaque);
        machine.called(length);
        FUZZ_CHECK(length >= 14 && length <= 65536 + 64, "frame of an impossible length");
        if (machine.onFrame)
            machine.onFrame(side, {static_cast<const std::byte*>(frame), length});
    }
};

void Machine::checkSeal(uint64_t address, size_t length) const {
    if (!sealed_ || length == 0)
        return;
    address %= Ram::kHigh;
    for (const Range& range : open_)
        if (address >= range.address && address - range.address <= range.length &&
            length <= range.length - (address - range.address))
            return;
    broken("write to memory that was not given for it", __FILE__, __LINE__);
}

// ---- entries ----

// The outermost one counts for all.
class Machine::Entry {
public:
    explicit Entry(Machine& machine) : machine_(machine) {
        if (machine_.depth_++ == 0)
            machine_.calls_ = machine_.octets_ = 0;
    }
    ~Entry() { --machine_.depth_; }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

private:
    Machine& machine_;
};

Machine::Machine(unsigned slot, const erdma_config& config, uint64_t& clock) : ram_(memoryOf(slot)), clock_(clock) {
    using C = Callbacks;
    const erdma_host_ops ops{.dma_read = C::read,
                             .dma_write = C::write,
                             .dma_atomic64 = C::atomic,
                             .dma_barrier = C::barrier,
                             .raise_vector = C::raise,
                             .now_ns = C::now,
                             .arm_timer = C::armTimer,
                             .schedule = C::schedule,
                             .trace = C::trace,
                             .guest_error = C::guestError,
                             .send_frame = C::sendFrame};
    char* error = nullptr;
    device_ = erdma_dev_create(&config, &ops, this, &error);
    FUZZ_CHECK((device_ == nullptr) == (error != nullptr), "neither an adapter nor a reason, or both");
    FUZZ_CHECK(error == nullptr || *error != 0, "a refusal without reason");
    std::free(error);
}

Machine::~Machine() { destroy(); }

void Machine::destroy() {
    if (!device_)
        return;
    onInterrupt = nullptr;
    erdma_dev_destroy(device_);
    device_ = nullptr;
    destroyed_ = true;
}

void Machine::write(uint64_t offset, uint64_t value, unsigned size) {
    if (offset == 0x10)
        quiet_ = false; // DEV_CTRL may say INIT; the next check of quiet() is the target's
    const Entry entry(*this);
    erdma_dev_mmio_write(device_, offset, value, size);
}

uint64_t Machine::read(uint64_t offset, unsigned size) {
    const Entry entry(*this);
    return erdma_dev_mmio_read(device_, offset, size);
}

void Machine::run() {
    scheduled = false;
    const Entry entry(*this);
    erdma_dev_run(device_);
}

bool Machine::timer() {
    if (timerAt > clock_)
        return false;
    timerAt = ERDMA_TIMER_OFF;
    const Entry entry(*this);
    erdma_dev_timer(device_);
    return true;
}

void Machine::reset() {
    const Entry entry(*this);
    erdma_dev_reset(device_);
}

bool Machine::frame(erdma_side side, std::span<const std::byte> octets, const erdma_offload& offload) {
    const Entry entry(*this);
    const auto head = octets.first(std::min<size_t>(octets.size(), ERDMA_FRAME_HEAD));
    const bool wanted = erdma_dev_wants_frame(device_, side, head.data(), head.size(), octets.size());
    if (!wanted)
        return false;
    return erdma_dev_frame(device_, side, octets.data(), octets.size(), &offload);
}

void Machine::framesEnd() {
    const Entry entry(*this);
    erdma_dev_frames_end(device_);
}

void Machine::startChecking() {
    const Entry entry(*this);
    FUZZ_CHECK(erdma_dev_set_check(device_, "on") == nullptr, "check mode is refused");
}

bool Machine::setFaults(const char* text) {
    const Entry entry(*this);
    const std::unique_ptr<char, decltype(&std::free)> complaint(erdma_dev_set_faults(device_, text), std::free);
    return !complaint;
}

bool Machine::setLink(const char* text) {
    const Entry entry(*this);
    const std::unique_ptr<char, decltype(&std::free)> complaint(erdma_dev_set_link(device_, text), std::free);
    return !complaint;
}

void Machine::settle(unsigned most) {
    for (unsigned i = 0; i < most && (scheduled || timerAt <= clock_); ++i) {
        if (scheduled)
            run();
        timer();
    }
}

uint64_t Machine::counter(const char* name) const {
    for (size_t i = 0; i < erdma_counter_count(); ++i)
        if (std::strcmp(erdma_counter_name(i), name) == 0)
            return erdma_dev_counter(device_, i);
    broken("a counter has another name now", __FILE__, __LINE__);
}

} // namespace erdma::fuzz
