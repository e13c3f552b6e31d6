// SPDX-License-Identifier: GPL-2.0-or-later
// iWARP over the paired NIC: the tracker, and the connections that were handed over (wire.md 1.6 to 1.8, 7.9, 7.10).
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "connection.h"
#include "nic.h"
#include "own_addresses.h"
#include "tracker.h"

namespace erdma {

class Iwarp final : public WireProtocol, private TrackerOutput, private ConnectionHost {
public:
    Iwarp(Adapter& adapter, FrameOutput& output);
    ~Iwarp() override;

    bool wants(erdma_side side, ConstBytes head) const override;
    bool fromGuest(ConstBytes raw, const erdma_offload& offload) override;
    bool fromWire(ConstBytes raw, const erdma_offload& offload) override;
    void endOfFrames() override;
    PairedNic::Claim connect(QueuePair& qp) override;
    void setMtu(uint16_t mtu) override;
    uint64_t deadline() const override;
    void onTimer(uint64_t nowNs) override;
    void runPending() override;
    bool anyPending() const override { return !pending_.empty(); }
    bool reset() override;
    std::string connections() const override;

    const FlowTracker& tracker() const { return tracker_; }
    size_t owned() const { return owned_.size(); }

private:
    void toGuest(ConstBytes frame, const erdma_offload& offload) override { output_.toGuest(frame, offload); }
    void toGuest(const TcpFrame& frame) override { output_.toGuest(frame); }
    void toWire(const TcpFrame& frame) override { output_.toWire(frame); }
    uint64_t nowNs() const override { return adapter_.machine.nowNs(); }
    uint16_t mtu() const override { return mtu_; }
    void schedule(Connection& connection) override;
    Counters& counters() override { return adapter_.counters; }
    // Without the capability, IPv6 is the guest's alone.
    bool speaks(const IpAddress& address) const { return adapter_.config.ipv6 || address.isV4(); }
    Connection* find(const FlowKey& key) const;
    void erase(Connection& connection);
    std::vector<uint16_t> vlans() const;
    void countTracker();
    EndpointSetup setupFor(const QueuePair& qp, const FlowHandover& flow);

    Adapter& adapter_;
    FrameOutput& output_;
    MemoryBudget memory_;
    OwnAddresses addresses_;
    FlowTracker tracker_;
    TrackerCounters trackerSeen_;
    VlanCounts vlans_; // of owned_
    uint16_t mtu_ = 1500;
    bool resetting_ = false; // the connections in owned_ are ended, and do nothing but this
    size_t flowsToForget_ = 0;
    std::unordered_map<FlowKey, std::unique_ptr<Connection>, FlowKeyHash> owned_;
    std::set<std::pair<uint64_t, Connection*>> timers_;
    std::vector<Connection*> batch_;     // with input since the last endOfFrames()
    std::deque<Connection*> pending_;    // ask for a turn outside the calls of their queue pairs, or are finished
    std::vector<Connection*> lingering_; // without queue pair, oldest first
};

} // namespace erdma
