// SPDX-License-Identifier: GPL-2.0-or-later
// Send queue entries: layout and form checks (adapter.md 7.1).  Knows no queue pair and no memory region.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "byteorder.h"
#include "hw.h"
#include "memory_region.h"

namespace erdma {

inline constexpr uint64_t kSqeDirectBit = uint64_t{1} << 26; // header bit DWQE
inline constexpr uint32_t kMaxSqeBytes = kMaxSqeWqebbs * kWqebbBytes;

// LE64 @0 of the first WQEBB.
struct SqeHeader {
    explicit SqeHeader(uint64_t word = 0) : raw(word) {}
    uint32_t sglLength() const { return static_cast<uint32_t>(raw >> 56); }
    uint32_t wqebbs() const { return static_cast<uint32_t>(raw >> 52 & 7) + 1; } // up to 8: check
    uint32_t qpn() const { return static_cast<uint32_t>(raw >> 32 & 0xFFFFF); }
    uint8_t opcode() const { return static_cast<uint8_t>(raw >> 27 & 0x1F); }
    bool inlined() const { return raw >> 25 & 1; }
    bool fence() const { return raw >> 24 & 1; }
    bool solicited() const { return raw >> 23 & 1; }
    bool signalled() const { return raw >> 22 & 1; }
    uint16_t indexAfter() const { return static_cast<uint16_t>(raw); }
    // For completions.  Software indexes a table with it unchecked, so it stays inside the table.
    Op echo() const { return opcode() <= static_cast<uint8_t>(Op::FetchAdd) ? static_cast<Op>(opcode()) : Op::Send; }
    uint64_t raw;
};

struct Sge {
    uint64_t addr = 0;
    uint32_t length = 0;
    uint32_t stag = 0;
};

enum class SqeKind : uint8_t { Send, Write, Read, Atomic, FastRegister, LocalInvalidate };

// A work request taken out of guest memory.
struct Sqe {
    std::array<std::byte, kMaxSqeBytes> raw; // filled by the caller before decode()
    SqeHeader header;
    uint16_t first = 0; // free-running index of the first WQEBB, set by the caller

    SqeKind kind = SqeKind::Send;
    bool inlined = false;
    bool immediate = false;  // SEND_IMM, WRITE_IMM
    bool invalidate = false; // SEND_INV, READ_INV, LOCAL_INV: `stag`
    uint32_t word8 = 0;      // immediate as a number, or STag to invalidate
    uint32_t length = 0;     // of the message; 8 for atomics
    uint32_t remoteStag = 0;
    uint64_t remoteTo = 0;
    uint32_t sgeCount = 0; // Send, Write without inline data; 1 for Read and Atomic: the local sink
    std::array<Sge, kMaxSendSges> sges{};
    size_t inlineOffset = 0; // of the data in `raw`
    ConstBytes address{};    // of an addressed Send: where it goes, in the words of the protocol
    uint64_t operand = 0;    // atomics: swap value or addend
    uint64_t compare = 0;
    FastRegister registration{};

    Op op() const { return static_cast<Op>(header.opcode()); }
    uint16_t after() const { return static_cast<uint16_t>(first + header.wqebbs()); }
    // Fills everything below `first` from `raw` and `header`; false: malformed (syndrome 8).  The header's own fields
    // (WQEBB count, QPN, index) were checked by the caller.  `addressed`: in the layout of 13.4, where only Sends exist.
    bool decode(bool addressed = false);

private:
    ConstBytes bytes() const { return ConstBytes(raw).first(size_t{header.wqebbs()} * kWqebbBytes); }
    Sge sgeAt(size_t offset) const;
    bool decodeData(size_t offset);
    bool decodeRegistration();
};

} // namespace erdma
