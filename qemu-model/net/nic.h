// SPDX-License-Identifier: GPL-2.0-or-later
// The adapter's place in the paired NIC's wire (wire.md 1.2): every frame passes here, and is offered to the protocol that
// carries the adapter's connections.
#pragma once

#include <memory>
#include <string>

#include "adapter.h"
#include "impairment.h"
#include "packet.h"
#include "paired_nic.h"

namespace erdma {

class FrameOutput {
public:
    virtual ~FrameOutput() = default;
    virtual void toGuest(ConstBytes frame, const erdma_offload& offload) = 0; // one of others
    virtual void toGuest(const TcpFrame& frame) = 0;
    virtual void toWire(const TcpFrame& frame) = 0;
    virtual void toWire(ConstBytes frame) = 0; // one of the protocol's own
};

// What of PairedNic depends on the protocol.
class WireProtocol : public Timed {
public:
    // Cheap: whether fromGuest() or fromWire() must see the frame that begins with `head`.
    virtual bool wants(erdma_side side, ConstBytes head) const = 0;
    // True: taken.  False: it goes on unchanged.
    virtual bool fromGuest(ConstBytes raw, const erdma_offload& offload) = 0;
    virtual bool fromWire(ConstBytes raw, const erdma_offload& offload) = 0;
    virtual void endOfFrames() = 0;
    virtual PairedNic::Claim connect(QueuePair& qp) = 0;
    virtual void setMtu(uint16_t mtu) = 0;
    virtual void runPending() = 0;
    virtual bool anyPending() const = 0;
    virtual bool reset() = 0;
    virtual std::string connections() const = 0;
};

// Outermost towards the backend stands the impairment: it sees frames to the wire after everything else, and frames
// from it before.
class Nic final : public PairedNic, private FrameOutput {
public:
    // `Protocol` is made of the adapter and of the way for its frames.
    template <typename Protocol> static std::unique_ptr<Nic> make(Adapter& adapter, Protocol*& protocol) {
        auto nic = std::make_unique<Nic>(adapter);
        auto own = std::make_unique<Protocol>(adapter, static_cast<FrameOutput&>(*nic));
        protocol = own.get();
        nic->protocol_ = std::move(own);
        return nic;
    }
    explicit Nic(Adapter& adapter) : adapter_(adapter), impairment_(adapter.counters) {} // for make()

    Impairment& impairment() { return impairment_; }

    bool wants(erdma_side side, ConstBytes head, size_t frameBytes) const override;
    bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) override;
    void endOfFrames() override { protocol_->endOfFrames(); }
    Claim connect(QueuePair& qp) override { return protocol_->connect(qp); }
    void setMtu(uint16_t mtu) override { protocol_->setMtu(mtu); }
    uint64_t deadline() const override;
    void onTimer(uint64_t nowNs) override;
    void runPending() override { protocol_->runPending(); }
    bool anyPending() const override { return protocol_->anyPending(); }
    bool reset() override { return protocol_->reset(); }
    std::string connections() const override { return protocol_->connections(); }

private:
    void toGuest(ConstBytes frame, const erdma_offload& offload) override;
    void toGuest(const TcpFrame& frame) override { send(ERDMA_TO_GUEST, frame); }
    void toWire(const TcpFrame& frame) override;
    void toWire(ConstBytes frame) override;
    void send(erdma_side side, const TcpFrame& frame);

    Adapter& adapter_;
    Impairment impairment_;
    std::unique_ptr<WireProtocol> protocol_;
};

} // namespace erdma
