// SPDX-License-Identifier: GPL-2.0-or-later
#include "registers.h"

#include <algorithm>
#include <bit>
#include <utility>

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
struct RegisterFile::Row {
    uint16_t offset;
    uint8_t width; // bytes
    const char* name;
    uint64_t (*read)(const RegisterFile&);
    void (*write)(RegisterFile&, uint64_t);
};

std::span<const RegisterFile::Row> RegisterFile::table() {
    using D = RegisterFile;
    using C = Counter;
    using R = uint64_t (*)(const D&);
    using W = void (*)(D&, uint64_t);
    static constexpr R none = nullptr;
    static constexpr W constant = nullptr;
    static constexpr R zero = [](const D&) -> uint64_t { return 0; };
    // Sorted by offset.
    static constexpr Row rows[] = {
        {0x00, 4, "VERSION", [](const D&) -> uint64_t { return kVersion; }, constant},
        {0x0C, 4, "DEV_PROTO", [](const D& d) -> uint64_t { return d.adapter_.personality->number(); }, constant},
        {0x10, 4, "DEV_CTRL", none, [](D& d, uint64_t v) { d.controlWritten(static_cast<uint32_t>(v)); }},
        {0x14, 4, "DEV_ST",
         [](const D& d) -> uint64_t {
             return (d.resetDone_ && d.control_.dismantled() ? kStateResetDone : 0) |
                    (d.adapter_.running ? kStateInitDone : 0);
         },
         constant},
        {0x18, 4, "MAC_L",
         [](const D& d) -> uint64_t {
             const auto& m = d.adapter_.config.mac;
             return uint32_t{m[2]} << 24 | uint32_t{m[3]} << 16 | uint32_t{m[4]} << 8 | m[5];
         },
         constant},
        {0x1C, 4, "MAC_H",
         [](const D& d) -> uint64_t { return uint32_t{d.adapter_.config.mac[0]} << 8 | d.adapter_.config.mac[1]; },
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
        {0x4C, 4, "GRP_NUM", [](const D& d) -> uint64_t { return d.adapter_.config.direct_wqe_groups; }, constant},
        {0x50, 8, "AEQ_DB", none, [](D& d, uint64_t v) { d.adapter_.events.doorbell(d.adapter_.events.async(), v); }},
        {0x60, 8, "CMDQ_SQ_DBREC", [](const D& d) { return d.regs_.cmdSqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdSqRecord = v; }},
        {0x68, 8, "CMDQ_CQ_DBREC", [](const D& d) { return d.regs_.cmdCqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdCqRecord = v; }},
        {0x70, 8, "CMDQ_EQ_DBREC", [](const D& d) { return d.regs_.cmdEqRecord; },
         [](D& d, uint64_t v) { d.regs_.cmdEqRecord = v; }},
        {0x78, 8, "AEQ_DBREC", [](const D& d) { return d.regs_.aeqRecord; },
         [](D& d, uint64_t v) { d.regs_.aeqRecord = v; }},
        {0x80, 8, "TSO_IN_PKTS", [](const D& d) { return d.adapter_.counters[C::TxRequests]; }, constant},
        {0x88, 8, "TSO_OUT_PKTS", [](const D& d) { return d.adapter_.counters[C::TxPackets]; }, constant},
        {0x90, 8, "TSO_OUT_BYTES", [](const D& d) { return d.adapter_.counters[C::TxBytes]; }, constant},
        {0x98, 8, "TX_DROP_PKTS", [](const D& d) { return d.adapter_.counters[C::TxDrops]; }, constant},
        {0xA0, 8, "TX_BPS_METER_DROP_PKTS", zero, constant}, // there are no meters
        {0xA8, 8, "TX_PPS_METER_DROP_PKTS", zero, constant},
        {0xC0, 8, "RX_PKTS", [](const D& d) { return d.adapter_.counters[C::RxPackets]; }, constant},
        {0xC8, 8, "RX_BYTES", [](const D& d) { return d.adapter_.counters[C::RxBytes]; }, constant},
        {0xD0, 8, "RX_DROP_PKTS", [](const D& d) { return d.adapter_.counters[C::RxDrops]; }, constant},
        {0xD8, 8, "RX_BPS_METER_DROP_PKTS", zero, constant},
        {0xE0, 8, "RX_PPS_METER_DROP_PKTS", zero, constant},
        {0x200, 8, "CMDQ_SQDB", none, [](D& d, uint64_t v) { d.commands_.doorbell(v); }},
        {0x300, 8, "CMDQ_CQDB", none, [](D& d, uint64_t v) { d.commands_.cqDoorbell(v); }},
    };
    return rows;
}

// The register that has `offset` as one of its bytes.
const RegisterFile::Row* RegisterFile::find(uint64_t offset) {
    const auto rows = table();
    const auto behind = std::ranges::upper_bound(rows, offset, {}, &Row::offset);
    if (behind == rows.begin())
        return nullptr;
    const Row& row = *std::prev(behind);
    return offset < uint64_t{row.offset} + row.width ? &row : nullptr;
}

uint32_t RegisterFile::readWord(uint64_t offset) const {
    const Row* row = find(offset);
    if (!row || !row->read)
        return 0;
    return static_cast<uint32_t>(row->read(*this) >> (8 * (offset - row->offset)));
}

void RegisterFile::writeRow(const Row& row, uint64_t value) {
    if (!row.write) {
        adapter_.guestError(std::string("write to read-only register ") + row.name);
        return;
    }
    // Doorbells have traces of their own: commands and events.
    if (row.read || row.offset == 0x10)
        adapter_.host.trace(ERDMA_TRACE_BRINGUP, row.offset, value, 0, row.name);
    row.write(*this, value);
}

uint64_t RegisterFile::read(uint64_t offset, unsigned size) const {
    const uint64_t mask = size == 8 ? UINT64_MAX : (uint64_t{1} << (8 * size)) - 1;
    const uint64_t base = offset & ~uint64_t{7};
    const uint64_t both = readWord(base) | uint64_t{readWord(base + 4)} << 32;
    return both >> (8 * (offset - base)) & mask;
}

void RegisterFile::clear(bool resetDone) {
    regs_ = {};
    lowHalfOffset_ = 0;
    resetDone_ = resetDone;
    initWaits_ = false;
}

void RegisterFile::dismantled() {
    if (std::exchange(initWaits_, false))
        initWritten();
}

void RegisterFile::initWritten() {
    if (!adapter_.faults.initStuck() && initialise())
        resetDone_ = false;
}

void RegisterFile::write(uint64_t offset, uint64_t value, unsigned size) {
    if ((size != 4 && size != 8) || offset % size != 0) {
        adapter_.guestError("register write that is neither 4 nor 8 aligned bytes");
        return;
    }
    const uint64_t base = offset & ~uint64_t{7};
    const bool eqDoorbell = base >= kEqDoorbells && base < kEqDoorbellsEnd;
    const Row* row = find(offset);
    if (!eqDoorbell && (!row || row->width == 4)) {
        // Two neighbours of 32 bits may be written at once; with a hole between, the hole is ignored.
        const Row* second = size == 8 ? find(offset + 4) : nullptr;
        if (row)
            writeRow(*row, value & 0xFFFFFFFF);
        if (second)
            writeRow(*second, value >> 32);
        if (!row && !second)
            adapter_.guestError("write to an unassigned register");
        return;
    }
    if (size == 4) { // half of a 64-bit register: takes effect with the high half
        if (offset == base) {
            lowHalf_ = value & 0xFFFFFFFF;
            lowHalfOffset_ = base;
            return;
        }
        if (lowHalfOffset_ != base) {
            adapter_.guestError("high half of a register without its low half");
            return;
        }
        lowHalfOffset_ = 0;
        value = value << 32 | lowHalf_;
    }
    if (eqDoorbell)
        adapter_.events.doorbell(adapter_.events.queue(static_cast<uint32_t>((base - kEqDoorbells) / 8)), value);
    else
        writeRow(*row, value);
}

void RegisterFile::controlWritten(uint32_t value) {
    if (value == kControlReset) {
        control_.resetByRegister();
    } else if (value == kControlInit) {
        if (adapter_.running) { // crash kernel, or a reload after an unclean stop; what was programmed since stays
            control_.stop();
            ++adapter_.counters[Counter::Resets];
        }
        initWaits_ = !control_.dismantled();
        if (!initWaits_)
            initWritten();
    } else {
        adapter_.guestError("DEV_CTRL write with other than exactly one known bit set");
    }
}

bool RegisterFile::initialise() {
    const char* bad = nullptr;
    if (!usableDepth(regs_.cmdDepth, 2, kMaxCommandDepth))
        bad = "CMDQ_DEPTH";
    else if (!usableDepth(regs_.cmdEqDepth, 1, 1u << EventQueue::kMaxDepthLog))
        bad = "CMDQ_EQ_DEPTH";
    else if (!usableDepth(regs_.aeqDepth, 1, 1u << EventQueue::kMaxDepthLog))
        bad = "AEQ_DEPTH";
    if (bad) {
        adapter_.guestError(std::string("INIT with unusable ") + bad + ": a power of two up to 32768 is needed");
        return false;
    }
    commands_.open({.address = regs_.cmdSq,
                    .cqAddress = regs_.cmdCq,
                    .record = regs_.cmdSqRecord,
                    .cqRecord = regs_.cmdCqRecord,
                    .depth = regs_.cmdDepth});
    Events& events = adapter_.events;
    events.queue(0).open(regs_.cmdEq, regs_.cmdEqDepth, 0, 0, regs_.cmdEqRecord, &adapter_.faults);
    events.async().open(regs_.aeq, regs_.aeqDepth, 0, ERDMA_MAX_VECTORS, regs_.aeqRecord, &adapter_.faults);
    adapter_.running = true;
    return true;
}

} // namespace erdma
