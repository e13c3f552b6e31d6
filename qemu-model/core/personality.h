// SPDX-License-Identifier: GPL-2.0-or-later
// What of an adapter depends on the protocol that it speaks: the value of DEV_PROTO, capabilities, commands of its own,
// and what those commands mean that every protocol has in a form of its own.  Implemented beside the protocols.
#pragma once

#include <cstdint>

#include "host.h"
#include "hw.h"

namespace erdma {

class QueuePair;
struct QpConfig;

// How a command completes.
struct CommandReply {
    CommandReply(Status s = Status::Ok, uint64_t r0 = 0, uint64_t r1 = 0) : status(s), resp0(r0), resp1(r1) {}
    Status status;
    uint64_t resp0;
    uint64_t resp1;
};

// Requests are given as they stand in the command queue; what a short one does not hold reads as 0.
class Personality {
public:
    virtual ~Personality() = default;
    virtual uint32_t number() const = 0; // DEV_PROTO
    // Bits that it adds to the first word of QUERY_DEVICE (4.2), and to the supported mask of GET_EXT_ATTR (4.19).
    virtual uint64_t capabilities() const { return 0; }
    virtual uint32_t attributes() const { return 0; }
    // Commands of sub-module 0 that only this protocol has.  Null: it has none of this number.
    virtual const char* commandName(uint8_t) const { return nullptr; }
    virtual CommandReply command(uint8_t, ConstBytes) { return Status::NotSupported; }
    // CREATE_QP, everything else of which is checked: says what kind of queue pair it becomes.
    virtual Status prepare(ConstBytes, QpConfig&) { return Status::Ok; }
    virtual void created(QueuePair&) {}
    virtual void destroyed(uint32_t /* QPN */) {} // behind the queue pair's end
    // MODIFY_QP and REFLUSH.
    virtual Status modify(QueuePair& qp, ConstBytes request) = 0;
    virtual Status reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) = 0;
};

} // namespace erdma
