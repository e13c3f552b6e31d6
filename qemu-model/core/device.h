// SPDX-License-Identifier: GPL-2.0-or-later
// One adapter: owns its queues, regions and registers, and runs them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "completion_queue.h"
#include "counters.h"
#include "doorbell.h"
#include "event_queue.h"
#include "fault.h"
#include "host.h"
#include "memory_region.h"
#include "paired_nic.h"
#include "queue_pair.h"

namespace erdma {

class Fabric;

// Single-threaded; every entry point is called by the host, one at a time.  Work is bounded per entry: what is left
// over is done after Host::schedule().
class Device {
public:
    Device(const erdma_config& config, Host& host, Fabric& fabric);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // ---- host entry points (capi.h) ----
    uint64_t mmioRead(uint64_t offset, unsigned size);
    void mmioWrite(uint64_t offset, uint64_t value, unsigned size);
    void reset(bool fromRegister);
    void run();
    void timer();
    bool wantsFrame(erdma_side side, ConstBytes head, size_t frameBytes) const {
        return nic_ && nic_->wants(side, head, frameBytes);
    }
    bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload);
    void framesEnd();
    // Replaces the plan.  False: an injection names a queue that does not exist; nothing changed.
    bool setFaults(FaultPlan plan);
    const FaultPlan& faults() const { return faults_; }

    // Without one the device knows loopback connections only.
    void attachNic(std::unique_ptr<PairedNic> nic) { nic_ = std::move(nic); }

    // ---- services for the parts ----
    PairedNic* nic() { return nic_.get(); }
    const PairedNic* nic() const { return nic_.get(); }
    Host& host() { return host_; }
    const erdma_config& config() const { return config_; }
    Fabric& fabric() { return fabric_; }
    Counters& counters() { return counters_; }
    const Counters& counters() const { return counters_; }
    MrTable& regions() { return regions_; }
    bool running() const { return running_; } // INIT done, not reset since

    uint32_t retransmitLimit() const { return retransmitLimit_; }

    uint32_t maxQps() const { return 1024u * config_.qblock; } // QPNs are below this, never 0 (4.2)
    uint32_t maxCqs() const { return 2048u * config_.qblock; }

    CompletionQueue* findCq(uint32_t cqn);
    QueuePair* findQp(uint32_t qpn);
    // CQE for a work completion; unknown CQN or unwritable ring: counted, AEQE type 3.  Also updates counters.
    void complete(uint32_t cqn, const Completion& completion);
    // A Write of the peer is complete.  It leaves no entry, but a program that sleeps on the CQ may wait for nothing
    // else: perftest's senders on iWARP devices wait in ibv_get_cq_event() for credits that the peer writes.
    void written(uint32_t cqn);
    void asyncEvent(AsyncEvent type, uint32_t number, uint32_t detail);
    void guestError(const std::string& text); // rate limited, counted

    // Puts the QP on the run queue (idempotent) and makes sure that it runs.
    void activate(QueuePair& qp);
    // Wake-up of the device no later than the given time; QueuePair::onTimer() of all QPs that asked is then called.
    // One deadline per QP: the earliest asked for since its last onTimer(), which asks again for later ones.
    void wakeAt(uint64_t deadlineNs, uint32_t qpn);

    // ---- queue pair commands, called by the command processor ----
    Status createQp(const QpConfig& request);
    Status modifyQp(const QpModify& request);
    Status destroyQp(uint32_t qpn);
    Status reflushQp(uint32_t qpn, uint16_t sqPi, uint16_t rqPi);

private:
    class Entry; // marks that a host entry point of this device is on the stack

    // registers.cpp
    struct Registers { // as last written; latched at INIT
        uint64_t cmdSq = 0, cmdCq = 0, cmdEq = 0, aeq = 0;
        uint32_t cmdDepth = 0, cmdEqDepth = 0, aeqDepth = 0;
        uint64_t cmdSqRecord = 0, cmdCqRecord = 0, cmdEqRecord = 0, aeqRecord = 0;
    };
    struct RegisterEntry; // one row of the register table
    static std::span<const RegisterEntry> registerTable();
    static const RegisterEntry* findRegister(uint64_t offset);
    uint32_t readWord(uint64_t offset);
    void writeRegister(uint64_t offset, uint64_t value, unsigned size);
    void writeEntry(const RegisterEntry& entry, uint64_t value);
    void controlWritten(uint32_t value);
    void eventDoorbell(EventQueue& eq, uint64_t value);
    bool initialise();
    void stop(); // shared by reset and INIT on a running device: destroys every object, no DMA afterwards

    // command.cpp
    struct CommandEntry; // one row of the command table
    struct CommandReply {
        CommandReply(Status s = Status::Ok, uint64_t r0 = 0, uint64_t r1 = 0) : status(s), resp0(r0), resp1(r1) {}
        Status status;
        uint64_t resp0;
        uint64_t resp1;
    };
    struct CommandQueue { // latched at INIT
        uint64_t address = 0;
        uint64_t record = 0;
        uint64_t cqRecord = 0;
        uint32_t depth = 0; // WQEBBs
        uint16_t consumer = 0;
        uint16_t producer = 0;
        bool pending() const { return consumer != producer; }
    };
    static std::span<const CommandEntry> commandTable();
    static const CommandEntry* findCommand(uint8_t sub, uint8_t opcode);
    void commandDoorbell(uint64_t value);
    void commandCqDoorbell(uint64_t value);
    void processCommands();
    bool fetchCommand(uint32_t first, uint32_t end, Bytes out);
    void executeCommand(ConstBytes entry);
    void answerLate(uint64_t now);
    void completeCommand(uint16_t sqIndex, uint8_t opcode, const CommandReply& reply);
    void fireCommandEvent();
    CommandReply queryDevice(ConstBytes request);
    CommandReply queryFirmware(ConstBytes request);
    CommandReply createEq(ConstBytes request);
    CommandReply destroyEq(ConstBytes request);
    CommandReply createCq(ConstBytes request);
    CommandReply destroyCq(ConstBytes request);
    CommandReply cmdCreateQp(ConstBytes request);
    CommandReply cmdDestroyQp(ConstBytes request);
    CommandReply cmdModifyQp(ConstBytes request);
    CommandReply cmdReflush(ConstBytes request);
    CommandReply registerMr(ConstBytes request);
    CommandReply deregisterMr(ConstBytes request);
    Status loadCountedRing(const RingRequest& request, RingView& ring);

    // command_query.cpp
    CommandReply confMtu(ConstBytes request);
    CommandReply confDevice(ConstBytes request);
    CommandReply allocDoorbells(ConstBytes request);
    CommandReply freeDoorbells(ConstBytes request);
    CommandReply getStats(ConstBytes request);
    CommandReply queryQpc(ConstBytes request);
    CommandReply queryCqc(ConstBytes request);
    CommandReply queryEqc(ConstBytes request);
    CommandReply setRetransmit(ConstBytes request);
    CommandReply setExtAttr(ConstBytes request);
    CommandReply getExtAttr(ConstBytes request);
    CommandReply answerInMemory(ConstBytes request, Bytes block);
    uint64_t peekRecord(uint64_t address);

    // device.cpp
    bool canInject(const FaultPlan::Injection& injection);
    void inject(const FaultPlan::Injection& injection);
    void fireCqEvent(CompletionQueue& cq);
    void remindCqs(uint64_t now);
    void runQueue(unsigned budget);
    void settle(unsigned budget);
    void stopQpsOfBrokenCqs();
    void updateTimer();

    friend class DoorbellSpace; // decodes BAR0 stores and calls the doorbell handlers below
    void sqDoorbell(uint32_t qpn, uint16_t pi, const DirectWqe* direct);
    void rqDoorbell(uint32_t qpn, uint16_t pi);
    void cqDoorbell(uint64_t value);
    void badDoorbell(const char* what);
    bool matchesRing(QueuePair& qp, uint16_t pi, const DirectWqe& direct);
    uint32_t qpGroup(uint32_t qpn) const;
    uint32_t cqGroup(uint32_t cqn) const;

    struct CqSlot {
        std::unique_ptr<CompletionQueue> queue;
        uint64_t record = 0;
        uint32_t group = 0;                     // doorbell pages (4.21), 0: those of everybody
        uint64_t remindAt = 0;                  // of the last arm that asked for it
        uint64_t scheduledAt = ERDMA_TIMER_OFF; // in reminders_; not later than remindAt
    };
    struct QpSlot {
        std::unique_ptr<QueuePair> pair;
        // Of CREATE_QP, for QUERY_QPC only.
        uint64_t sqRecord = 0, rqRecord = 0;
        uint8_t sqPageShift = 12, rqPageShift = 12;
        uint32_t group = 0;
        bool queued = false; // on the run queue
        uint64_t wakeAt = ERDMA_TIMER_OFF;
    };

    // Page addresses of rings kept for the guest, all queues together: 2^22 describe 16 GiB of rings in 4 KiB pages.
    static constexpr uint64_t kMaxRingPages = uint64_t{1} << 22;

    erdma_config config_;
    Host& host_;
    Fabric& fabric_;
    Counters counters_;
    FaultPlan faults_;
    Registers regs_;
    bool resetDone_ = false;
    bool running_ = false;
    uint64_t lowHalf_ = 0;       // of a 64-bit register written in two halves
    uint64_t lowHalfOffset_ = 0; // 0: none
    MrTable regions_;
    DoorbellSpace doorbells_;

    EventQueue aeq_;
    std::array<EventQueue, ERDMA_MAX_VECTORS> eqs_; // 0: command EQ, 1..31: CEQs
    CommandQueue commands_;
    std::unique_ptr<CompletionQueue> cmdCq_;
    struct LateAnswer {
        uint16_t sqIndex;
        uint8_t opcode;
        CommandReply reply;
    };
    std::multimap<uint64_t, LateAnswer> late_; // deadline -> answer of a command that a fault slows down
    uint32_t mtu_ = 1500;
    uint32_t retransmitLimit_ = 24;
    uint8_t delayedAck_ = 0;

    std::unordered_map<uint32_t, CqSlot> cqs_;
    std::unordered_map<uint32_t, QpSlot> qps_;
    uint64_t ringPages_ = 0;
    std::vector<uint32_t> brokenCqs_; // their QPs are stopped at the end of the entry
    uint32_t lastMissingCq_ = UINT32_MAX;

    std::deque<uint32_t> runnable_; // QPNs; each at most once
    bool inEntry_ = false;
    std::multimap<uint64_t, uint32_t> timers_;          // deadline -> QPN; at most one per QP
    std::set<std::pair<uint64_t, uint32_t>> reminders_; // deadline, CQN; at most one per CQ
    uint64_t armedAt_ = ERDMA_TIMER_OFF;
    uint64_t errorWindowStart_ = 0;
    uint32_t errorsInWindow_ = 0;
    std::unique_ptr<PairedNic> nic_;
};

} // namespace erdma
