// SPDX-License-Identifier: GPL-2.0-or-later
// What a guest's kernel does with the adapter, for targets that begin with one at work.
#pragma once

#include <optional>
#include <vector>

#include "fake_host.h" // the layouts of commands
#include "machine.h"

namespace erdma::fuzz {

using test::Request;

inline constexpr uint32_t kWholeAccess = 0x3E; // every right that a region can have

erdma_config smallConfig();

// One ring of the guest.
struct Ring {
    uint64_t address = 0;
    uint32_t depth = 0;
    uint32_t pi = 0, ci = 0; // free running
};

struct Pair { // a queue pair and what belongs to it
    uint32_t qpn = 0, sendCqn = 0, recvCqn = 0, pd = 0;
    Ring sq, rq;
};

class Driver {
public:
    static constexpr uint32_t kCommandDepth = 64, kEventDepth = 64;

    explicit Driver(Machine& machine, uint32_t entryBytes = 128) : machine_(machine), entryBytes_(entryBytes) {}

    Machine& machine() { return machine_; }
    Ram& ram() { return machine_.ram(); }
    uint32_t entryBytes() const { return entryBytes_; }

    // Whole pages, never given out before; runs round when the memory is used up.
    uint64_t allocate(uint64_t octets);
    Ring ring(uint32_t depth, uint32_t entryBytes) { return {allocate(uint64_t{depth} * entryBytes), depth, 0, 0}; }

    // Registers and INIT.
    void bringUp();
    // Puts an entry into the command ring without ringing.
    void stage(uint8_t sub, uint8_t opcode, Request request);
    void ringCommands() { machine_.write(0x200, commandSq.pi & 0xFFFF); }
    // The status of the next completion that is there.
    std::optional<uint32_t> answer(uint64_t* resp0 = nullptr);
    // A command and its status; UINT32_MAX without one.
    uint32_t command(uint8_t sub, uint8_t opcode, Request request, uint64_t* resp0 = nullptr);

    bool createEq(uint8_t eqn);
    // `page`: of doorbells, 0 for none.
    bool createCq(uint32_t cqn, uint32_t depthLog, uint16_t page = 0);
    // `type`: of RoCEv2's, 0 for a connection, 1 for datagrams.
    bool createQp(Pair& pair, uint32_t sqLog, uint32_t rqLog, uint16_t sqPage = 0, uint16_t rqPage = 0,
                  uint32_t type = 0);
    // Pages of one piece of memory; `table`: listed in a table of level 1.
    bool registerMr(uint32_t index, uint32_t pd, uint64_t start, uint64_t bus, uint32_t octets, bool table = false,
                    uint32_t access = kWholeAccess);
    bool registerFast(uint32_t index, uint32_t pd, uint64_t table, uint32_t capacity);
    struct Tuple {
        IpAddress ownIp, peerIp;
        uint16_t ownPort, peerPort;
        uint32_t sendNxt, recvNxt;
        uint32_t cookie;
        uint8_t congestion;
    };
    static Request connectRequest(uint32_t qpn, const Tuple& tuple);
    bool connect(uint32_t qpn, const Tuple& tuple) { return command(0, 3, connectRequest(qpn, tuple)) == 0; }

    // Puts one work request of whole blocks into the send queue; number, count and index are filled in.
    void putSqe(Pair& pair, std::span<std::byte> sqe);
    void putRqe(Pair& pair, uint64_t address, uint32_t length, uint32_t stag);
    static uint64_t sqDoorbell(const Pair& pair) { return uint64_t{pair.qpn} << 32 | (pair.sq.pi & 0xFFFF); }
    static uint64_t rqDoorbell(const Pair& pair) { return uint64_t{pair.qpn} << 32 | (pair.rq.pi & 0xFFFF); }

    Ring commandSq, commandCq, commandEq, aeq;
    std::vector<Range> eventRings; // where events and completions are written
    std::vector<Ring> cqRings;     // by CQN

private:
    Machine& machine_;
    uint32_t entryBytes_;
    uint64_t next_ = 0x4000;
};

} // namespace erdma::fuzz
