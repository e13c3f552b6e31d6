// SPDX-License-Identifier: GPL-2.0-or-later
// A machine without QEMU: guest memory, clock and interrupts that tests can look at, and a guest that programs the
// adapter the way a driver does.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "byteorder.h"
#include "config.h"
#include "device.h"
#include "iwarp_commands.h"
#include "loopback.h"
#include "fault_text.h"

namespace erdma::test {

// Guest memory: RAM from 0 to `ramBytes`, allocated when written; everything else is unreachable.
class FakeMemory {
public:
    static constexpr uint64_t kPage = 4096;
    uint64_t ramBytes = uint64_t{1} << 36;

    bool reachable(uint64_t addr, size_t length) const {
        if (length == 0)
            return true;
        if (addr >= ramBytes || length > ramBytes - addr)
            return false;
        if (blocked_.empty())
            return true;
        const auto at = blocked_.lower_bound(addr / kPage);
        return at == blocked_.end() || *at > (addr + length - 1) / kPage;
    }
    // Makes whole pages unreachable, or reachable again.
    void block(uint64_t addr, uint64_t length = 1) {
        for (uint64_t page = addr / kPage; page <= (addr + length - 1) / kPage; ++page)
            blocked_.insert(page);
    }
    void unblock() { blocked_.clear(); }

    bool read(uint64_t addr, Bytes out) const {
        if (!reachable(addr, out.size()))
            return false;
        while (!out.empty()) {
            const size_t inside = static_cast<size_t>(addr % kPage);
            const size_t piece = std::min<size_t>(out.size(), kPage - inside);
            const auto at = pages_.find(addr / kPage);
            if (at == pages_.end())
                std::memset(out.data(), 0, piece);
            else
                std::memcpy(out.data(), at->second->data() + inside, piece);
            out = out.subspan(piece);
            addr += piece;
        }
        return true;
    }
    bool write(uint64_t addr, ConstBytes in) {
        if (!reachable(addr, in.size()))
            return false;
        while (!in.empty()) {
            const size_t inside = static_cast<size_t>(addr % kPage);
            const size_t piece = std::min<size_t>(in.size(), kPage - inside);
            auto& page = pages_[addr / kPage];
            if (!page)
                page = std::make_unique<std::array<std::byte, kPage>>();
            std::memcpy(page->data() + inside, in.data(), piece);
            in = in.subspan(piece);
            addr += piece;
        }
        return true;
    }
    size_t pagesInUse() const { return pages_.size(); }

    uint32_t get32(uint64_t addr) const {
        std::array<std::byte, 4> raw{};
        read(addr, raw);
        return loadLe32(raw, 0);
    }
    uint64_t get64(uint64_t addr) const {
        std::array<std::byte, 8> raw{};
        read(addr, raw);
        return loadLe64(raw, 0);
    }
    void put32(uint64_t addr, uint32_t value) {
        std::array<std::byte, 4> raw{};
        storeLe32(raw, 0, value);
        write(addr, raw);
    }
    void put64(uint64_t addr, uint64_t value) {
        std::array<std::byte, 8> raw{};
        storeLe64(raw, 0, value);
        write(addr, raw);
    }
    // Bytes seed, seed + 1, ...
    void fill(uint64_t addr, size_t length, uint8_t seed = 0) {
        std::vector<std::byte> raw(length);
        for (size_t i = 0; i < length; ++i)
            raw[i] = static_cast<std::byte>(seed + i);
        write(addr, raw);
    }
    std::vector<std::byte> copy(uint64_t addr, size_t length) const {
        std::vector<std::byte> raw(length);
        read(addr, raw);
        return raw;
    }
    // Page-aligned, never handed out before.
    uint64_t allocate(uint64_t bytes, uint64_t align = kPage) {
        next_ = (next_ + align - 1) / align * align;
        const uint64_t at = next_;
        next_ += std::max<uint64_t>(bytes, 1);
        return at;
    }

private:
    std::unordered_map<uint64_t, std::unique_ptr<std::array<std::byte, kPage>>> pages_;
    std::set<uint64_t> blocked_;
    uint64_t next_ = 0x100000;
};

class FakeHost final : public Host {
public:
    struct Access {
        uint64_t addr;
        size_t length;
    };
    explicit FakeHost(std::shared_ptr<FakeMemory> shared = std::make_shared<FakeMemory>())
        : memory(std::move(shared)) {}

    std::shared_ptr<FakeMemory> memory;
    std::vector<unsigned> interrupts; // vectors, in order
    uint64_t clock = 1'000'000;       // ns
    uint64_t timerAt = ERDMA_TIMER_OFF;
    bool scheduled = false;
    uint64_t reads = 0;
    bool keepWrites = false;
    static constexpr uint64_t kBarrier = UINT64_MAX; // among the writes
    std::vector<Access> writes;                      // while keepWrites
    uint64_t writeCount = 0;
    std::vector<std::string> errors;
    std::array<uint64_t, 5> traces{};
    std::string traced; // text of the last one

    bool read(uint64_t addr, Bytes out) override {
        ++reads;
        if (onAccess)
            onAccess();
        return memory->read(addr, out);
    }
    bool write(uint64_t addr, ConstBytes in) override {
        ++writeCount;
        if (onAccess)
            onAccess();
        if (keepWrites)
            writes.push_back({addr, in.size()});
        return memory->write(addr, in);
    }
    std::optional<uint64_t> atomic64(uint64_t addr, erdma_atomic_op op, uint64_t operand, uint64_t compare) override {
        if (addr % 8 != 0 || !memory->reachable(addr, 8))
            return std::nullopt;
        const uint64_t old = memory->get64(addr);
        if (op == ERDMA_ATOMIC_ADD)
            memory->put64(addr, old + operand);
        else if (old == compare)
            memory->put64(addr, operand);
        return old;
    }
    void barrier() override {
        if (keepWrites)
            writes.push_back({kBarrier, 0});
    }
    void raise(unsigned vector) override {
        interrupts.push_back(vector);
        if (onInterrupt)
            onInterrupt(vector);
    }
    uint64_t nowNs() override { return clock; }
    void armTimer(uint64_t deadlineNs) override { timerAt = deadlineNs; }
    void schedule() override { scheduled = true; }
    void trace(erdma_trace_kind kind, uint64_t, uint64_t, uint64_t, const char* text) override {
        ++traces[static_cast<size_t>(kind)];
        traced = text ? text : "";
    }
    void guestError(const char* text) override { errors.emplace_back(text); }
    void sendFrame(erdma_side side, ConstBytes frame, const erdma_offload& offload) override {
        if (onFrame)
            onFrame(side, frame, offload);
    }
    std::function<void(erdma_side side, ConstBytes frame, const erdma_offload& offload)> onFrame;
    std::function<void(unsigned vector)> onInterrupt;
    std::function<void()> onAccess; // before each

    size_t interruptsOf(unsigned vector) const {
        return static_cast<size_t>(std::count(interrupts.begin(), interrupts.end(), vector));
    }
};

inline erdma_config testConfig() {
    erdma_config config = defaultConfig();
    const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    std::copy(std::begin(mac), std::end(mac), config.mac);
    return config;
}

// A command request.  Bytes that the test does not set hold garbage, as in drivers that do not clear them.
class Request {
public:
    explicit Request(uint8_t garbage = 0xA5) { bytes_.fill(static_cast<std::byte>(garbage)); }
    Request& u8(size_t at, uint8_t v) { return store8(bytes_, at, v), *this; }
    Request& u16(size_t at, uint16_t v) { return storeLe16(bytes_, at, v), *this; }
    Request& u32(size_t at, uint32_t v) { return storeLe32(bytes_, at, v), *this; }
    Request& u64(size_t at, uint64_t v) { return storeLe64(bytes_, at, v), *this; }
    Request& be32(size_t at, uint32_t v) { return storeBe32(bytes_, at, v), *this; }
    Request& be16(size_t at, uint16_t v) { return storeLe16(bytes_, at, byteSwapped(v)), *this; }
    Request& address(size_t at, const IpAddress& v) { return v.store(bytes_, at), *this; }
    Bytes bytes() { return bytes_; }

private:
    std::array<std::byte, 128> bytes_;
};

struct Reply {
    uint32_t status = UINT32_MAX;
    uint64_t resp0 = 0;
    uint64_t resp1 = 0;
    uint32_t sqIndex = 0;
    uint8_t opcode = 0;
    uint8_t queueType = 0;
    bool ok() const { return status == 0; }
};

struct Cqe {
    uint8_t opcode;
    uint8_t queueType;
    uint8_t syndrome;
    uint32_t index;
    uint32_t qpn;
    uint32_t immediate;   // @12 read little endian
    uint32_t invalidated; // @12 read big endian
    uint32_t bytes;
};

using Eqe = std::array<uint32_t, 4>;

// The driver's view of one adapter.
class Guest {
public:
    struct Ring {
        uint64_t address = 0;
        uint32_t depth = 0;
        uint32_t entryBytes = 0;
        uint32_t ci = 0; // free running
        uint32_t pi = 0;
    };
    struct QpRings {
        Ring sq, rq;
    };

    // `entryBytes` 64 or 128: the generation of the command queue.
    Guest(FakeHost& host, Device& device, uint32_t entryBytes = 128)
        : host_(host), device_(device), entryBytes_(entryBytes) {}

    FakeMemory& memory() { return *host_.memory; }
    FakeHost& host() { return host_; }
    Device& device() { return device_; }
    uint32_t entryBytes() const { return entryBytes_; }

    // ---- registers ----
    void write32(uint64_t offset, uint32_t value) { device_.mmioWrite(offset, value, 4); }
    void write64(uint64_t offset, uint64_t value) { device_.mmioWrite(offset, value, 8); }
    uint32_t read32(uint64_t offset) { return static_cast<uint32_t>(device_.mmioRead(offset, 4)); }
    uint64_t read64(uint64_t offset) { return device_.mmioRead(offset, 8); }
    bool initDone() { return (read32(0x14) & 2) != 0; }
    bool resetDone() { return (read32(0x14) & 1) != 0; }

    // Rings of the command queue and the AEQ; doorbell records behind each ring as in 6.1, or apart.
    void programQueues(bool recordsBehind = true, uint32_t cmdEqDepth = 128, uint32_t aeqDepth = 4096) {
        cmdSq_ = newRing(entryBytes_ == 64 ? 256 : 512, 32);
        cmdCq_ = newRing(cmdSq_.depth, 32);
        cmdEq_ = newRing(cmdEqDepth, 16);
        aeq_ = newRing(aeqDepth, 16);
        const uint64_t pool = memory().allocate(64);
        const auto record = [&](const Ring& ring, unsigned i) {
            return recordsBehind ? ring.address + uint64_t{ring.depth} * ring.entryBytes : pool + 8 * i;
        };
        writePair(0x44, 0x40, aeq_.address);
        write32(0x48, aeq_.depth);
        write64(0x78, record(aeq_, 0));
        writePair(0x24, 0x20, cmdSq_.address);
        write32(0x30, cmdSq_.depth);
        write64(0x60, record(cmdSq_, 1));
        writePair(0x2C, 0x28, cmdCq_.address);
        write64(0x68, record(cmdCq_, 2));
        writePair(0x3C, 0x38, cmdEq_.address);
        write32(0x34, cmdEq_.depth);
        write64(0x70, record(cmdEq_, 3));
    }
    void init() { write32(0x10, 2); }
    void bringUp(bool recordsBehind = true) {
        programQueues(recordsBehind);
        init();
    }
    void armCommandCq() {
        write64(0x300,
                uint64_t{cmdArms_ & 0xFF} << 56 | 1u << 31 | uint64_t{cmdArms_ & 3} << 28 | (cmdCq_.ci & 0xFFFFFF));
    }
    void countCommandEvent() { ++cmdArms_; }

    // ---- commands ----
    // Puts the entry in the ring and does not ring the doorbell.
    void stage(uint8_t sub, uint8_t opcode, Request request = Request()) {
        const uint32_t wqebbs = entryBytes_ / 32;
        storeLe64(request.bytes(), 0,
                  uint64_t{wqebbs - 1} << 52 | uint64_t{cookie_++ & 127} << 32 | uint64_t{sub} << 24 |
                      uint64_t{opcode} << 16 | ((cmdSq_.pi + wqebbs) & 0xFFFF));
        putCommandBytes(request.bytes().first(entryBytes_));
        cmdSq_.pi += wqebbs;
    }
    // Raw entry bytes at the producer index; does not move it.
    void putCommandBytes(ConstBytes bytes) {
        for (size_t i = 0; i * 32 < bytes.size(); ++i) {
            const uint64_t slot = (cmdSq_.pi + i) & (cmdSq_.depth - 1);
            memory().write(cmdSq_.address + slot * 32, bytes.subspan(i * 32, 32));
        }
    }
    void ringCommands() { write64(0x200, cmdSq_.pi & 0xFFFF); }
    // The next completion, if its owner bit says that it is there.
    std::optional<Reply> pollCommand() {
        const auto raw = nextEntry(cmdCq_);
        if (!raw)
            return std::nullopt;
        Reply reply;
        const uint32_t header = loadBe32(*raw, 0);
        reply.status = header & 0xFF;
        reply.queueType = static_cast<uint8_t>(header >> 8);
        reply.opcode = static_cast<uint8_t>(header >> 16);
        reply.sqIndex = loadBe32(*raw, 4);
        reply.resp0 = loadBe32(*raw, 8) | uint64_t{loadBe32(*raw, 12)} << 32;
        reply.resp1 = loadBe32(*raw, 16) | uint64_t{loadBe32(*raw, 20)} << 32;
        return reply;
    }
    // Command and its completion; the status is UINT32_MAX when none came.
    Reply command(uint8_t sub, uint8_t opcode, Request request = Request()) {
        stage(sub, opcode, request);
        ringCommands();
        settle();
        return pollCommand().value_or(Reply{});
    }
    uint32_t status(uint8_t sub, uint8_t opcode, Request request = Request()) {
        return command(sub, opcode, request).status;
    }

    // ---- event queues ----
    Reply createEq(uint8_t eqn, uint8_t depthLog = 12, std::optional<uint8_t> vector = std::nullopt) {
        Ring ring = newRing(1u << depthLog, 16);
        const Reply reply = command(
            1, 0, Request().u64(8, ring.address).u8(16, vector.value_or(eqn)).u8(17, eqn).u8(18, depthLog).u8(19, 1));
        if (reply.ok())
            ceqs_[eqn] = ring;
        return reply;
    }
    Reply destroyEq(uint8_t eqn) { return command(1, 1, Request().u8(16, eqn).u8(17, eqn).u8(19, 1)); }
    Ring& ceq(uint8_t eqn) { return ceqs_[eqn]; }
    Ring& commandEq() { return cmdEq_; }
    Ring& aeq() { return aeq_; }
    Ring& commandCq() { return cmdCq_; }
    Ring& commandSq() { return cmdSq_; }
    std::optional<Eqe> pollEq(Ring& ring) {
        const uint64_t at = ring.address + uint64_t{ring.ci & (ring.depth - 1)} * 16;
        if (((memory().get32(at) >> 31) != 0) != ((ring.ci & ring.depth) == 0))
            return std::nullopt;
        Eqe out{};
        for (size_t i = 0; i < out.size(); ++i)
            out[i] = memory().get32(at + 4 * i);
        ++ring.ci;
        return out;
    }
    void ringEq(uint8_t eqn, bool arm = true) {
        const Ring& ring = eqn == 0 ? cmdEq_ : ceqs_[eqn];
        write64(0x100 + 8u * eqn, (arm ? 1u << 31 : 0) | (ring.ci & 0xFFFF));
    }
    void ringAeq(bool arm = true) { write64(0x50, (arm ? 1u << 31 : 0) | (aeq_.ci & 0xFFFF)); }
    std::vector<Eqe> drainAeq() { // all entries, and rings the doorbell until there are no more
        std::vector<Eqe> out;
        for (bool more = true; more;) {
            more = false;
            while (auto e = pollEq(aeq_)) {
                out.push_back(*e);
                more = true;
            }
            ringAeq();
        }
        return out;
    }

    // ---- completion queues ----
    // As a kernel creates them: one contiguous buffer, exact address.
    Reply createCq(uint32_t cqn, uint32_t depthLog = 6, uint32_t eqn = 1) {
        Ring ring = newRing(1u << depthLog, 32);
        const Reply reply = command(0, 4, cqRequest(cqn, depthLog, eqn, ring.address));
        if (reply.ok())
            cqs_[cqn] = ring;
        return reply;
    }
    static Request cqRequest(uint32_t cqn, uint32_t depthLog, uint32_t eqn, uint64_t address, uint32_t count = 1,
                             uint32_t pageField = 13, uint32_t offset = 0, bool level = false) {
        return Request()
            .u32(8, depthLog << 24 | pageField << 20 | cqn)
            .u64(12, address)
            .u32(20, count << 16 | (level ? 1u << 15 : 0) | eqn)
            .u64(24, 0x10)
            .u32(32, offset);
    }
    Reply destroyCq(uint32_t cqn) { return command(0, 5, Request().u32(8, cqn)); }
    Ring& cq(uint32_t cqn) { return cqs_[cqn]; }
    std::optional<Cqe> pollCq(uint32_t cqn) {
        const auto raw = nextEntry(cqs_[cqn]);
        if (!raw)
            return std::nullopt;
        const uint32_t header = loadBe32(*raw, 0);
        return Cqe{static_cast<uint8_t>(header >> 16),
                   static_cast<uint8_t>(header >> 8),
                   static_cast<uint8_t>(header),
                   loadBe32(*raw, 4),
                   loadBe32(*raw, 8),
                   loadLe32(*raw, 12),
                   loadBe32(*raw, 12),
                   loadBe32(*raw, 16)};
    }
    std::vector<Cqe> drainCq(uint32_t cqn) {
        std::vector<Cqe> out;
        while (auto cqe = pollCq(cqn))
            out.push_back(*cqe);
        return out;
    }
    // `fetched`: CMDSN, events that the host has seen.
    static uint64_t armValue(uint32_t cqn, uint32_t ci, bool solicited, uint8_t index = 0, uint32_t fetched = 0) {
        return uint64_t{index} << 56 | uint64_t{cqn} << 32 | 1u << 31 | (solicited ? 1u << 30 : 0) |
               (fetched & 3) << 28 | (ci & 0xFFFFFF);
    }
    void armCq(uint32_t cqn, bool solicited = false, uint32_t fetched = 0) {
        write64(kCqDoorbells + (cqn % 512) * 8, armValue(cqn, cqs_[cqn].ci, solicited, 0, fetched));
    }

    // ---- queue pairs ----
    // As a kernel creates them, or one for a process, whose rings are one small page each.
    Reply createQp(uint32_t qpn, uint32_t sendCqn, uint32_t recvCqn, uint32_t sqLog = 6, uint32_t rqLog = 4,
                   uint32_t pd = 1, bool ofProcess = false) {
        QpRings rings{newRing(1u << sqLog, 32), newRing(1u << rqLog, 32)};
        const Reply reply = command(
            0, 1,
            qpRequest(qpn, sendCqn, recvCqn, sqLog, rqLog, pd, rings.sq.address, rings.rq.address, ofProcess ? 0 : 8));
        if (reply.ok())
            qps_[qpn] = rings;
        return reply;
    }
    static Request qpRequest(uint32_t qpn, uint32_t sendCqn, uint32_t recvCqn, uint32_t sqLog, uint32_t rqLog,
                             uint32_t pd, uint64_t sq, uint64_t rq, uint32_t pageField = 8, uint32_t count = 1,
                             bool level = false) {
        return Request()
            .u32(8, sqLog << 20 | qpn)
            .u32(12, rqLog << 20 | pd)
            .u32(16, pageField << 28 | sendCqn)
            .u32(20, pageField << 28 | recvCqn)
            .u64(24, sq)
            .u64(32, rq)
            .u32(40, count << 1 | (level ? 1 : 0))
            .u32(44, count << 1 | (level ? 1 : 0))
            .u64(48, 0x20)
            .u64(56, 0x28);
    }
    Reply destroyQp(uint32_t qpn) { return command(0, 2, Request().u32(8, qpn)); }
    Reply stopQp(uint32_t qpn, QpState state = QpState::Error) {
        return command(0, 3, Request().u32(8, static_cast<uint32_t>(state) << 24 | qpn));
    }
    Reply connectQp(uint32_t qpn, const Handover& link) {
        Request request;
        request.u32(8, 2u << 24 | uint32_t{link.congestionControl} << 20 | qpn)
            .u32(12, link.cookie | (link.ownIp.isV4() ? 0 : 1u << 31))
            .be32(16, link.peerIp.v4())
            .be32(20, link.ownIp.v4())
            .be16(24, link.ownPort)
            .be16(26, link.peerPort)
            .u32(28, link.sendStart)
            .u32(32, link.recvStart);
        if (!link.ownIp.isV4())
            request.be32(44, link.flowLabel).address(48, link.peerIp).address(64, link.ownIp);
        return command(0, 3, request);
    }
    Reply reflushQp(uint32_t qpn, uint16_t sqPi, uint16_t rqPi) {
        return command(0, 6, Request().u32(8, qpn).u32(12, sqPi).u32(16, rqPi));
    }
    QpRings& qp(uint32_t qpn) { return qps_[qpn]; }
    // One SQE of whole WQEBBs: QPN, count and PI are put into its header here.  Returns its index.
    uint16_t putSqe(uint32_t qpn, Bytes sqe) {
        Ring& sq = qps_[qpn].sq;
        const auto wqebbs = static_cast<uint32_t>(sqe.size() / 32);
        const auto index = static_cast<uint16_t>(sq.pi);
        sq.pi += wqebbs;
        const uint64_t keep = loadLe64(sqe, 0) & ~(uint64_t{0x7FFFFF} << 32 | 0xFFFF);
        storeLe64(sqe, 0, keep | uint64_t{wqebbs - 1} << 52 | uint64_t{qpn} << 32 | (sq.pi & 0xFFFF));
        for (uint32_t i = 0; i < wqebbs; ++i)
            memory().write(sq.address + uint64_t{(index + i) & (sq.depth - 1)} * 32, sqe.subspan(size_t{i} * 32, 32));
        return index;
    }
    void ringSq(uint32_t qpn) {
        write64(0x5F000, uint64_t{qpn} << 32 | (qps_[qpn].sq.pi & 0xFFFF));
        settle();
    }
    uint16_t postRecv(uint32_t qpn, uint64_t addr, uint32_t length, uint32_t stag) {
        Ring& rq = qps_[qpn].rq;
        const auto index = static_cast<uint16_t>(rq.pi++);
        std::array<std::byte, 32> rqe;
        rqe.fill(std::byte{0xC3});
        storeLe16(rqe, 0, static_cast<uint16_t>(rq.pi));
        storeLe32(rqe, 4, qpn);
        storeLe64(rqe, 16, addr);
        storeLe32(rqe, 24, length);
        storeLe32(rqe, 28, stag);
        memory().write(rq.address + uint64_t{index & (rq.depth - 1)} * 32, rqe);
        write64(kRqDoorbells, loadLe64(rqe, 0));
        settle();
        return index;
    }

    // ---- memory regions ----
    static Request mrRequest(uint32_t index, uint32_t type, uint32_t access, uint32_t pd, uint64_t start, uint64_t size,
                             uint32_t pageShift, uint32_t level, uint64_t count, bool valid = true, uint32_t key = 0,
                             uint32_t version = 0, uint32_t tablePageField = 0) {
        return Request()
            .u32(8, (valid ? 1u << 31 : 0) | version << 28 | key << 20 | index)
            .u32(12, pd << 12 | type << 6 | access)
            .u64(16, start)
            .u32(24, static_cast<uint32_t>(size))
            .u32(28, pageShift << 27 | tablePageField << 24 | level << 20 | static_cast<uint32_t>(count & 0xFFFFF));
    }
    // Contiguous pages, at most 4 inline, else a level 1 table.  STag: index << 8.
    Reply registerMr(uint32_t index, uint64_t start, uint64_t bus, uint64_t size, uint32_t access = 0x3E,
                     uint32_t pd = 1) {
        const uint64_t offset = start % 4096;
        const uint64_t count = (offset + size + 4095) / 4096;
        const uint64_t page = bus - offset;
        Request request = mrRequest(index, 0, access, pd, start, size, 12, count > 4 ? 1 : 0, count);
        if (count > 4) {
            const uint64_t table = memory().allocate(count * 8);
            for (uint64_t i = 0; i < count; ++i)
                memory().put64(table + i * 8, page + i * 4096);
            request.u64(32, table);
        } else {
            for (size_t i = 0; i < count; ++i)
                request.u64(32 + i * 8, page + i * 4096);
        }
        return command(0, 8, request);
    }
    Reply registerFast(uint32_t index, uint64_t table, uint32_t capacity, uint32_t pd = 1) {
        return command(0, 8, mrRequest(index, 1, 0x3C, pd, 0xDEAD, 77, 12, 1, capacity, false).u64(32, table));
    }
    Reply registerDma(uint32_t index, uint32_t access, uint32_t pd = 1) {
        return command(0, 8, mrRequest(index, 2, access, pd, 0xDEAD, 0, 31, 0, 0, false));
    }
    Reply deregister(uint32_t index) { return command(0, 9, Request().u32(8, index)); }

    // Lets everything happen that the model asked for, except timers.
    void settle() {
        while (host_.scheduled) {
            host_.scheduled = false;
            device_.run();
        }
    }
    void advance(uint64_t ns) {
        host_.clock += ns;
        while (host_.timerAt <= host_.clock) {
            host_.timerAt = ERDMA_TIMER_OFF;
            device_.timer();
        }
        settle();
    }

    Ring newRing(uint32_t depth, uint32_t entryBytes) {
        Ring ring;
        ring.depth = depth;
        ring.entryBytes = entryBytes;
        ring.address = memory().allocate(uint64_t{depth} * entryBytes + 64);
        return ring;
    }

private:
    void writePair(uint64_t high, uint64_t low, uint64_t value) {
        write32(high, static_cast<uint32_t>(value >> 32));
        write32(low, static_cast<uint32_t>(value));
    }
    std::optional<std::array<std::byte, 32>> nextEntry(Ring& ring) {
        std::array<std::byte, 32> raw{};
        memory().read(ring.address + uint64_t{ring.ci & (ring.depth - 1)} * 32, raw);
        const bool owner = (loadBe32(raw, 0) >> 31) != 0;
        if (owner != ((ring.ci & ring.depth) == 0))
            return std::nullopt;
        ++ring.ci;
        return raw;
    }

    FakeHost& host_;
    Device& device_;
    uint32_t entryBytes_;
    uint32_t cookie_ = 0;
    uint32_t cmdArms_ = 0;
    Ring cmdSq_, cmdCq_, cmdEq_, aeq_;
    std::map<uint32_t, Ring> ceqs_;
    std::map<uint32_t, Ring> cqs_;
    std::map<uint32_t, QpRings> qps_;
};

// One adapter and its driver.
struct Machine {
    explicit Machine(uint32_t entryBytes = 128, const erdma_config& config = testConfig(), Fabric* shared = nullptr)
        : fabric(shared ? *shared : ownFabric), device(config, host, fabric), guest(host, device, entryBytes) {
        if (config.protocol == ERDMA_PROTOCOL_IWARP)
            device.setPersonality(std::make_unique<IwarpCommands>(device.adapter().config));
    }
    LoopbackFabric ownFabric;
    Fabric& fabric;
    FakeHost host;
    Device device;
    Guest guest;
    uint64_t count(Counter c) const { return device.counters()[c]; }
};

} // namespace erdma::test
