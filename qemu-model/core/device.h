// SPDX-License-Identifier: GPL-2.0-or-later
// One adapter: what the host calls, and the order in which the parts do their work.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "adapter.h"
#include "commands.h"
#include "doorbell.h"
#include "entry.h"
#include "queue_pairs.h"
#include "registers.h"

namespace erdma {

// Single-threaded; every entry point is called by the host, one at a time (entry.h).  Work is bounded per entry: what is
// left over is done after Host::schedule().
class Device final : private Work, private RegisterFile::Control {
public:
    Device(const erdma_config& config, Host& host, Fabric& fabric);
    ~Device() override;
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // ---- host entry points (capi.h) ----
    uint64_t mmioRead(uint64_t offset, unsigned size);
    void mmioWrite(uint64_t offset, uint64_t value, unsigned size);
    // Function-level, bus or system reset.  From inside a run (entry.h): when that is over.
    void reset();
    // The same for an adapter that goes: nothing is left for later.  From outside a run.
    void leave();
    void run();
    void timer();
    bool wantsFrame(erdma_side side, ConstBytes head, size_t frameBytes) const {
        return adapter_.nic && adapter_.nic->wants(side, head, frameBytes);
    }
    bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload);
    void framesEnd();
    // Replaces the plan.  False: an injection names a queue that does not exist; nothing changed.
    bool setFaults(FaultPlan plan);
    const FaultPlan& faults() const { return adapter_.faults; }

    // Both once, before anything else.
    void setPersonality(std::unique_ptr<Personality> personality) { adapter_.personality = std::move(personality); }
    void attachNic(std::unique_ptr<PairedNic> nic);

    Adapter& adapter() { return adapter_; }
    PairedNic* nic() { return adapter_.nic.get(); }
    Counters& counters() { return adapter_.counters; }
    const Counters& counters() const { return adapter_.counters; }
    MrTable& regions() { return adapter_.regions; }
    CompletionQueue* findCq(uint32_t cqn) { return adapter_.cqs.find(cqn); }
    QueuePair* findQp(uint32_t qpn) { return qps_.find(qpn); }

private:
    Entrance& entrance() { return adapter_.fabric.entrance; }
    void finish(unsigned budget) override;
    void stopBroken();
    void resetByRegister() override { resetNow(true); }
    void resetNow(bool byRegister);
    void stop() override;
    bool dismantled() const override { return !dismantling_; }
    void dismantle();
    void dismantleWholly();
    EventQueue* eventQueue(const FaultPlan::Injection& injection);
    bool canInject(const FaultPlan::Injection& injection);
    void inject(const FaultPlan::Injection& injection);

    Adapter adapter_;
    QueuePairs qps_{adapter_};
    Doorbells doorbells_{adapter_, qps_};
    CommandProcessor commands_{adapter_, qps_, doorbells_};
    RegisterFile registers_{adapter_, commands_, *this};
    bool dismantling_ = false; // what a reset left
};

} // namespace erdma
