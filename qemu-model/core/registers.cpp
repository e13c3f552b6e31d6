// SPDX-License-Identifier: GPL-2.0-or-later
// Register file: adapter.md chapter 2.
#include <algorithm>
#include <bit>

#include "device.h"

namespace erdma {

namespace {

constexpr uint32_t kVersion = 0x01000000; // logical 1 stored big endian (2.2)
constexpr uint32_t kControlReset = 1u << 0;
constexpr uint32_t kControlInit = 1u << 1;
constexpr uint32_t kStateResetDone = 1u << 0;
constexpr uint32_t kStateInitDone = 1u << 1;
constexpr uint64_t kEqDoorbells = 0x100; // one of 64 bits per EQ
constexpr uint64_t kEqDoorbellsEnd = kEqDoorbells + 8 * ERDMA_MAX_VECTORS;
constexpr uint32_t kMaxCommandDepth = 32768; // producer indices have 16 bits

void setLow(uint64_t& field, uint64_t value) { field = (field & ~uint64_t{0xFFFFFFFF}) | (value & 0xFFFFFFFF); }
void setHigh(uint64_t& field, uint64_t value) { field = (field & 0xFFFFFFFF) | value << 32; }
uint64_t low(uint64_t field) { return field & 0xFFFFFFFF; }
uint64_t high(uint64_t field) { return field >> 32; }

bool usableDepth(uint32_t depth, uint32_t min, uint32_t max) {
    return std::has_single_bit(depth) && depth >= min && depth <= max;
}

} // namespace

// `read` null: reads as 0.  `write` null: writes are ignored.
struct Device::RegisterEntry {
    uint16_t offset;
    uint8_t width; // bytes
    const char* name;
    uint64_t (*read)(const Device&);
    void (*write)(Device&, uint64_t);
};

std::span<const Device::RegisterEntry> Device::registerTable() {
    using D = Device;
    using C = Counter;
    using R = uint64_t (*)(const D&);
    using W = void (*)(D&, uint64_t);
    static constexpr R none = nullptr;
    static constexpr W constant = nullptr;
    static constexpr R zero = [](const D&) -> uint64_t { return 0; };
    // Sorted by offset.
    static constexpr RegisterEntry table[] = {
        {0x00, 4, "VERSION", [](const D&) -> uint64_t { return kVersion; }, constant},
        {0x0C, 4, "DEV_PROTO", zero, constant}, // iWARP
        {0x10, 4, "DEV_CTRL", none, [](D& d, uint64_t v) { d.controlWritten(static_cast<uint32_t>(v)); }},
        {0x14, 4, "DEV_ST",
         [](const D& d) -> uint64_t {
             return (d.resetDone_ ? kStateResetDone : 0) | (d.running_ ? kStateInitDone : 0);
         },
         constant},
        {0x18, 4, "MAC_L",
         [](const D& d) -> uint64_t {
             const auto& m = d.config_.mac;
             return uint32_t{m[2]} << 24 | uint32_t{m[3]} << 16 | uint32_t{m[4]} << 8 | m[5];
         },
         constant},
        {0x1C, 4, "MAC_H", [](const D& d) -> uint64_t { return uint32_t{d.config_.mac[0]} << 8 | d.config_.mac[1]; },
         constant},
        {0x20, 4, "CMDQ_SQ_ADDR_L", [](const D& d) { return low(d.regs_.cmdSq); },
         [](D& d, uint64_t v) { setLow(d.regs_.cmdSq, v); }},
        {0x24, 4, "CMDQ_SQ_ADDR_H", [](const D& d) { return high(d.regs_.cmdSq); },
         [](D& d, uint64_t v) { setHigh(d.regs_.cmdSq, v); }},
        {0x28, 4, "CMDQ_CQ_ADDR_L", [](const D& d) { return low(d.regs_.cmdCq); },
         [](D& d, uint64_t v) { setLow(d.regs_.cmdCq, v); }},
        {0x2C, 4, "CMDQ_CQ_ADDR_H", [](const D& d) { return high(d.regs_.cmdCq); },
         [](D& d, uint64_t v) { setHigh(d.regs_.cmdCq, v); }},
        {0x30, 4, "CMDQ_DEPTH", [](const D& d) -> uint64_t { return d.regs_.cmdDepth; },
         [](D& d, uint64_t v) { d.regs_.cmdDepth = static_cast<uint32_t>(v); }},
        {0x34, 4, "CMDQ_EQ_DEPTH", [](const D& d) -> uint64_t { return d.regs_.cmdEqDepth; },
         [](D& d, uint64_t v) { d.regs_.cmdEqDepth = static_cast<uint32_t>(v); }},
        {0x38, 4, "CMDQ_EQ_ADDR_L", [](const D& d) { return low(d.regs_.cmdEq); },
         [](D& d, uint64_t v) { setLow(d.regs_.cmdEq, v); }},
        {0x3C, 4, "CMDQ_EQ_ADDR_H", [](const D& d) { return high(d.regs_.cmdEq); },
         [](D& d, uint64_t v) { setHigh(d.regs_.cmdEq, v); }},
        {0x40, 4, "AEQ_ADDR_L", [](const D& d) { return low(d.regs_.aeq); },
         [](D& d, uint64_t v) { setLow(d.regs_.aeq, v); }},
        {0x44, 4, "AEQ_ADDR_H", [](const D& d) { return high(d.regs_.aeq); },
         [](D& d, uint64_t v) { setHigh(d.regs_.aeq, v); }},
        {0x48, 4, "AEQ_DEPTH", [](const D& d) -> uint64_t { return d.regs_.aeqDepth; },
         [](D& d, uint64_t v) { d.regs_.aeqDepth = static_cast<uint32_t>(v); }},
        {0x4C, 4, "GRP_NUM", [](const D& d) -> uint64_t { return d.config_.direct_wqe_groups; }, constant},
        {0x50, 8, "AEQ_DB", none, [](D& d, uint64_t v) { d.eventDoorbell(d.aeq_, v); }},
        {0x60, 8, "CMDQ_SQ_DBREC", [](const D& d) { return d.regs_.cmdSqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdSqRecord = v; }},
        {0x68, 8, "CMDQ_CQ_DBREC", [](const D& d) { return d.regs_.cmdCqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdCqRecord = v; }},
        {0x70, 8, "CMDQ_EQ_DBREC", [](const D& d) { return d.regs_.cmdEqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdEqRecord = v; }},
        {0x78, 8, "AEQ_DBREC", [](const D& d) { return d.regs_.aeqRecord; },
         [](D& d, uint64_t v) { d.regs_.aeqRecord = v; }},
        {0x80, 8, "TSO_IN_PKTS", [](const D& d) { return d.counters_[C::TxRequests]; }, constant},
        {0x88, 8, "TSO_OUT_PKTS", [](const D& d) { return d.counters_[C::TxPackets]; }, constant},
        {0x90, 8, "TSO_OUT_BYTES", [](const D& d) { return d.counters_[C::TxBytes]; }, constant},
        {0x98, 8, "TX_DROP_PKTS", [](const D& d) { return d.counters_[C::TxDrops]; }, constant},
        {0xA0, 8, "TX_BPS_METER_DROP_PKTS", zero, constant}, // there are no meters
        {0xA8, 8, "TX_PPS_METER_DROP_PKTS", zero, constant},
        {0xC0, 8, "RX_PKTS", [](const D& d) { return d.counters_[C::RxPackets]; }, constant},
        {0xC8, 8, "RX_BYTES", [](const D& d) { return d.counters_[C::RxBytes]; }, constant},
        {0xD0, 8, "RX_DROP_PKTS", [](const D& d) { return d.counters_[C::RxDrops]; }, constant},
        {0xD8, 8, "RX_BPS_METER_DROP_PKTS", zero, constant},
        {0xE0, 8, "RX_PPS_METER_DROP_PKTS", zero, constant},
        {0x200, 8, "CMDQ_SQDB", none, [](D& d, uint64_t v) { d.commandDoorbell(v); }},
        {0x300, 8, "CMDQ_CQDB", none, [](D& d, uint64_t v) { d.commandCqDoorbell(v); }},
    };
    return table;
}

// The register that has `offset` as one of its bytes.
const Device::RegisterEntry* Device::findRegister(uint64_t offset) {
    const auto table = registerTable();
    const auto behind = std::ranges::upper_bound(table, offset, {}, &RegisterEntry::offset);
    if (behind == table.begin())
        return nullptr;
    const RegisterEntry& entry = *std::prev(behind);
    return offset < uint64_t{entry.offset} + entry.width ? &entry : nullptr;
}

uint32_t Device::readWord(uint64_t offset) {
    const RegisterEntry* entry = findRegister(offset);
    if (!entry || !entry->read)
        return 0;
    return static_cast<uint32_t>(entry->read(*this) >> (8 * (offset - entry->offset)));
}

void Device::writeEntry(const RegisterEntry& entry, uint64_t value) {
    if (!entry.write) {
        guestError(std::string("write to read-only register ") + entry.name);
        return;
    }
    // Doorbells have traces of their own: commands and events.
    if (entry.read || entry.offset == 0x10)
        host_.trace(ERDMA_TRACE_BRINGUP, entry.offset, value, 0, entry.name);
    entry.write(*this, value);
}

void Device::writeRegister(uint64_t offset, uint64_t value, unsigned size) {
    if ((size != 4 && size != 8) || offset % size != 0) {
        guestError("register write that is neither 4 nor 8 aligned bytes");
        return;
    }
    const uint64_t base = offset & ~uint64_t{7};
    const bool eqDoorbell = base >= kEqDoorbells && base < kEqDoorbellsEnd;
    const RegisterEntry* entry = findRegister(offset);
    if (!eqDoorbell && (!entry || entry->width == 4)) {
        // Two neighbours of 32 bits may be written at once; with a hole between, the hole is ignored.
        const RegisterEntry* second = size == 8 ? findRegister(offset + 4) : nullptr;
        if (entry)
            writeEntry(*entry, value & 0xFFFFFFFF);
        if (second)
            writeEntry(*second, value >> 32);
        if (!entry && !second)
            guestError("write to an unassigned register");
        return;
    }
    if (size == 4) { // half of a 64-bit register: takes effect with the high half
        if (offset == base) {
            lowHalf_ = value & 0xFFFFFFFF;
            lowHalfOffset_ = base;
            return;
        }
        if (lowHalfOffset_ != base) {
            guestError("high half of a register without its low half");
            return;
        }
        lowHalfOffset_ = 0;
        value = value << 32 | lowHalf_;
    }
    if (eqDoorbell)
        eventDoorbell(eqs_[static_cast<size_t>((base - kEqDoorbells) / 8)], value);
    else
        writeEntry(*entry, value);
}

void Device::eventDoorbell(EventQueue& eq, uint64_t value) {
    if (faults_.losesDoorbell(Doorbell::Event))
        return;
    if (!eq.isOpen())
        badDoorbell("doorbell of an event queue that does not exist");
    else if (!eq.doorbell(host_, counters_, value))
        badDoorbell("event queue doorbell with an impossible consumer index");
}

void Device::controlWritten(uint32_t value) {
    if (value == kControlReset) {
        reset(true);
    } else if (value == kControlInit) {
        if (running_) { // crash kernel, or a reload after an unclean stop; what was programmed since stays
            stop();
            ++counters_[Counter::Resets];
        }
        if (!faults_.initStuck() && initialise())
            resetDone_ = false;
    } else {
        guestError("DEV_CTRL write with other than exactly one known bit set");
    }
}

bool Device::initialise() {
    const char* bad = nullptr;
    if (!usableDepth(regs_.cmdDepth, 2, kMaxCommandDepth))
        bad = "CMDQ_DEPTH";
    else if (!usableDepth(regs_.cmdEqDepth, 1, 1u << EventQueue::kMaxDepthLog))
        bad = "CMDQ_EQ_DEPTH";
    else if (!usableDepth(regs_.aeqDepth, 1, 1u << EventQueue::kMaxDepthLog))
        bad = "AEQ_DEPTH";
    if (bad) {
        guestError(std::string("INIT with unusable ") + bad + ": a power of two up to 32768 is needed");
        return false;
    }
    commands_ = {};
    commands_.address = regs_.cmdSq;
    commands_.depth = regs_.cmdDepth;
    commands_.record = regs_.cmdSqRecord;
    commands_.cqRecord = regs_.cmdCqRecord;
    const uint64_t cqBytes = uint64_t{regs_.cmdDepth} * CompletionQueue::kEntryBytes;
    cmdCq_ = std::make_unique<CompletionQueue>(0, RingView({regs_.cmdCq}, cqBytes, 0, cqBytes),
                                               static_cast<uint32_t>(std::countr_zero(regs_.cmdDepth)), 0);
    eqs_[0].open(regs_.cmdEq, regs_.cmdEqDepth, 0, 0, regs_.cmdEqRecord, &faults_);
    aeq_.open(regs_.aeq, regs_.aeqDepth, 0, ERDMA_MAX_VECTORS, regs_.aeqRecord, &faults_);
    running_ = true;
    return true;
}

} // namespace erdma
