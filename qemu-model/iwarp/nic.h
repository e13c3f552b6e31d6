// SPDX-License-Identifier: GPL-2.0-or-later
// The adapter's place in the paired NIC's wire: the filter that every frame passes, the tracker, and the connections
// that were handed over (wire.md 1.2, 1.6 to 1.8, 7.9, 7.10).
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "connection.h"
#include "device.h"
#include "impairment.h"
#include "paired_nic.h"
#include "tracker.h"

namespace erdma {

// Outermost towards the backend stands the impairment: it sees frames to the wire after everything else, and frames
// from it before.
class Nic final : public PairedNic, private TrackerOutput, private ConnectionHost {
public:
    explicit Nic(Device& device);
    ~Nic() override;

    bool wants(erdma_side side, ConstBytes head, size_t frameBytes) const override;
    bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) override;
    void endOfFrames() override;
    Claim connect(QueuePair& qp) override;
    void setMtu(uint16_t mtu) override;
    uint64_t deadline() const override;
    void onTimer(uint64_t nowNs) override;
    void runPending() override;
    void reset() override;
    std::string connections() const override;

    Impairment& impairment() { return impairment_; }
    const FlowTracker& tracker() const { return tracker_; }
    size_t owned() const { return owned_.size(); }

private:
    bool fromGuest(ConstBytes raw, const erdma_offload& offload);
    bool fromWire(ConstBytes raw, const erdma_offload& offload);
    void toGuest(ConstBytes frame, const erdma_offload& offload) override;
    void toGuest(ConstBytes frame) override { toGuest(frame, {}); }
    void toWire(ConstBytes frame) override;
    uint64_t nowNs() const override { return device_.host().nowNs(); }
    void schedule(Connection& connection) override;
    Counters& counters() override { return device_.counters(); }
    Connection* find(const FlowKey& key) const;
    void erase(Connection& connection);
    void note(const FlowKey& key, const TcpSegment& segment);
    void countTracker();
    EndpointSetup setupFor(const QueuePair& qp, const FlowHandover& flow);

    Device& device_;
    Impairment impairment_;
    FlowTracker tracker_;
    TrackerCounters trackerSeen_;
    std::set<uint16_t> vlans_; // of the SYNs seen: a command does not name the VLAN of its tuple
    uint16_t mtu_ = 1500;
    ReorderBudget reorder_;
    std::unordered_map<FlowKey, std::unique_ptr<Connection>, FlowKeyHash> owned_;
    std::set<std::pair<uint64_t, Connection*>> timers_;
    std::vector<Connection*> batch_;     // with input since the last endOfFrames()
    std::vector<Connection*> pending_;   // ask for a turn outside the calls of their queue pairs, or are finished
    std::vector<Connection*> lingering_; // without queue pair, oldest first
};

} // namespace erdma
