// SPDX-License-Identifier: GPL-2.0-or-later
// A tuple that belongs to the adapter: its endpoint on the wire and its virtual peer towards the guest's kernel.
#pragma once

#include <string>

#include "counters.h"
#include "endpoint.h"
#include "kernel_side.h"
#include "tracker.h"

namespace erdma {

class Connection;

class ConnectionHost {
public:
    virtual ~ConnectionHost() = default;
    virtual uint64_t nowNs() const = 0;
    virtual uint16_t mtu() const = 0;
    virtual void toWire(const TcpFrame& frame) = 0;
    virtual void toGuest(const TcpFrame& frame) = 0;
    // Connection::wantsTurn() or deadline() may have changed.  Must not call back.
    virtual void schedule(Connection& connection) = 0;
    virtual Counters& counters() = 0;
};

class Connection final : private EndpointHost, private KernelOutput {
public:
    Connection(const FlowKey& key, const FlowHandover& flow, uint32_t sendNxt, ConnectionHost& host);

    // Gives the queue pair its transport and processes what was held for it.
    void open(QueuePair& qp, const EndpointSetup& setup, MemoryBudget& budget, const std::vector<HeldFrame>& held);

    void fromKernel(const TcpSegment& segment);
    void fromWire(const Frame& frame);
    bool wantsTurn() const { return endpoint_->wantsTurn(); }
    uint64_t deadline() const;
    size_t takeTurn(); // Endpoint::takeTurn(), and what is due towards the kernel
    void reset();      // 7.10
    // A new SYN may take the tuple: the guest's own, or this one of the peer.
    bool replaceable() const;
    bool replaceableBy(const TcpSegment& syn) const;
    // Nothing is left to do on either side.
    bool finished() const;

    const FlowKey& key() const { return key_; }
    Endpoint& endpoint() { return *endpoint_; }
    const Endpoint& endpoint() const { return *endpoint_; }
    std::string json() const;

    // Bookkeeping of the owner.
    uint64_t scheduledAt = kNever;
    bool inBatch = false, isPending = false, lingers = false;

private:
    uint64_t nowNs() override { return host_.nowNs(); }
    uint16_t mtu() const override { return host_.mtu(); }
    void sendFrame(const TcpFrame& frame) override { host_.toWire(frame); }
    void rearm(Endpoint& endpoint) override;
    void signalKernel(Endpoint& endpoint, KernelSignal signal) override;
    void toKernel(const TcpSegment& segment) override;
    uint32_t peerTimestamp() const override;
    uint64_t nowNs() const override { return host_.nowNs(); }
    void count();
    void answerClosed(const TcpSegment& segment);

    FlowKey key_;
    ConnectionHost& host_;
    LinkHeader link_; // from the peer to the guest
    IpHeader ip_;
    KernelSide kernel_;
    std::shared_ptr<Endpoint> endpoint_;
    uint64_t kernelCloseAt_ = kNever; // 7.5
    KernelSignal kernelClose_ = KernelSignal::Fin;
    uint64_t forgetAt_ = kNever; // 7.2, step 5
    TcpCounters tcpSeen_;
    EndpointCounters endpointSeen_;
    KernelCounters kernelSeen_;
};

} // namespace erdma
