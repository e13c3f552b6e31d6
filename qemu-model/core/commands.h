// SPDX-License-Identifier: GPL-2.0-or-later
// The command queue and its commands: adapter.md chapters 3 and 4.
// Queue and objects are in commands.cpp, reports and settings in commands_query.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "adapter.h"
#include "doorbell.h"
#include "personality.h"
#include "queue_pairs.h"

namespace erdma {

class CommandProcessor final : public Timed {
public:
    CommandProcessor(Adapter& adapter, QueuePairs& qps, Doorbells& doorbells)
        : adapter_(adapter), qps_(qps), doorbells_(doorbells) {}

    // As the registers say at INIT: addresses of the rings, depth of both in entries of 32 bytes, doorbell records.
    struct Queue {
        uint64_t address = 0;
        uint64_t cqAddress = 0;
        uint64_t record = 0;
        uint64_t cqRecord = 0;
        uint32_t depth = 0;
    };
    void open(const Queue& queue);
    // Forgets the queue, late answers and settings.
    void close();

    void doorbell(uint64_t value);
    void cqDoorbell(uint64_t value);
    bool pending() const { return consumer_ != producer_ || unfinished_.has_value(); }
    void process(); // as many commands as the budget allows
    CompletionQueue& completionQueue() { return *cq_; }

    // Answers that a fault holds back.
    uint64_t deadline() const override { return late_.empty() ? ERDMA_TIMER_OFF : late_.begin()->first; }
    void onTimer(uint64_t nowNs) override;

private:
    struct Row; // of the command table
    using Reply = CommandReply;
    struct LateAnswer {
        uint16_t sqIndex;
        uint8_t opcode;
        Reply reply;
    };
    struct Unfinished { // the queue pair still does what the command asked for
        uint32_t qpn;
        LateAnswer answer;
    };
    static std::span<const Row> table();
    static const Row* find(uint8_t sub, uint8_t opcode);
    bool fetch(uint32_t first, uint32_t end, Bytes out);
    void execute(ConstBytes entry);
    bool finishLast();
    void waitFor(uint32_t qpn);
    void complete(uint16_t sqIndex, uint8_t opcode, const Reply& reply);
    void setMtu(uint32_t mtu);

    // commands.cpp
    Reply queryDevice(ConstBytes request);
    Reply queryFirmware(ConstBytes request);
    Reply createEq(ConstBytes request);
    Reply destroyEq(ConstBytes request);
    Reply createCq(ConstBytes request);
    Reply destroyCq(ConstBytes request);
    Reply createQp(ConstBytes request);
    Reply destroyQp(ConstBytes request);
    Reply modifyQp(ConstBytes request);
    Reply reflush(ConstBytes request);
    Reply registerMr(ConstBytes request);
    Reply deregisterMr(ConstBytes request);

    // commands_query.cpp
    Reply confMtu(ConstBytes request);
    Reply confDevice(ConstBytes request);
    Reply allocDoorbells(ConstBytes request);
    Reply freeDoorbells(ConstBytes request);
    Reply getStats(ConstBytes request);
    Reply queryQpc(ConstBytes request);
    Reply queryCqc(ConstBytes request);
    Reply queryEqc(ConstBytes request);
    Reply setRetransmit(ConstBytes request);
    Reply setExtAttr(ConstBytes request);
    Reply getExtAttr(ConstBytes request);
    Reply queryCheck(ConstBytes request);
    Reply queryFlow(ConstBytes request);
    Reply answerInMemory(ConstBytes request, Bytes block);
    uint64_t peekRecord(uint64_t address);

    Adapter& adapter_;
    QueuePairs& qps_;
    Doorbells& doorbells_;
    Queue queue_;
    uint16_t consumer_ = 0;
    uint16_t producer_ = 0;
    std::unique_ptr<CompletionQueue> cq_;
    std::multimap<uint64_t, LateAnswer> late_; // by deadline
    std::optional<Unfinished> unfinished_;     // no other command starts meanwhile
    uint32_t waitFor_ = 0;                     // QPN, of the command that is being executed; 0: none
    uint8_t delayedAck_ = 0;
};

} // namespace erdma
