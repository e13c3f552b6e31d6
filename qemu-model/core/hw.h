// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers of the programming interface shared by several parts of the model (docs/spec/adapter.md).
// Layouts that only one part decodes live with that part.
#pragma once

#include <cstdint>

namespace erdma {

// 7.1: SQE opcodes; 7.4: completion opcodes share the number space.
enum class Op : uint8_t {
    Write = 0,
    Read = 1,
    Send = 2,
    SendImm = 3,
    RecvSend = 4,     // completion only
    RecvWriteImm = 5, // completion only
    RecvSendInv = 6,  // completion only
    WriteImm = 9,
    RecvSendImm = 12, // completion only
    SendInv = 13,
    RegMr = 14,
    LocalInv = 15,
    ReadInv = 16,
    CompareSwap = 17,
    FetchAdd = 18,
};

// 7.5
enum class Syndrome : uint8_t {
    Success = 0,
    General = 1,
    RecvFormat = 2,
    RecvStag = 3,
    RecvBounds = 4,
    RecvRights = 5,
    RecvPd = 6,
    RecvWrap = 7,
    SendFormat = 8,
    OrdExceeded = 9,
    SendStag = 10,
    SendBounds = 11,
    SendRights = 12,
    SendPd = 13,
    SendWrap = 14,
    Flushed = 15,
    RetryExceeded = 16,
};

enum class QueueType : uint8_t { Send = 0, Receive = 1, Command = 2 };

// 5.1
enum class AsyncEvent : uint8_t { QpFatal = 0, RecvQueue = 1, Access = 2, Cq = 3, Other = 4 };

// Second word of an AEQE (docs/capabilities.md): what the Terminate says, or this and the opcode of the message.
inline constexpr uint32_t kNotInDialect = 0x10000;

// 9.1
enum class QpState : uint8_t { Idle = 0, Rtr = 1, Rts = 2, Closing = 3, Terminate = 4, Error = 5 };

// Command status: positive errno numbers (3.5).
enum class Status : uint8_t {
    Ok = 0,
    NotFound = 2,
    Io = 5,
    NoMemory = 12,
    Fault = 14,
    Busy = 16,
    Exists = 17,
    Invalid = 22,
    NoSpace = 28,
    NotSupported = 95,
};

inline constexpr uint32_t kWqebbBytes = 32;
inline constexpr uint32_t kMaxSqeWqebbs = 4;
inline constexpr uint32_t kMaxSendSges = 6;
inline constexpr uint32_t kMaxInlineBytes = 96;
inline constexpr uint32_t kLocalDmaKey = 0x0FFFFF00; // 8.6
inline constexpr uint32_t kMaxOrd = 128;             // the most that two ends agree to (wire.md 2.7)
inline constexpr uint32_t kMaxIrd = 128;

} // namespace erdma
