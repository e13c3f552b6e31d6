// SPDX-License-Identifier: GPL-2.0-or-later
// RoCEv2 over the paired NIC: which frames are the adapter's, whom they are for, and the way out for its own
// (roce.md 1.2 to 1.4, 2.12, 5.5).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "address_handles.h"
#include "gid_table.h"
#include "nic.h"
#include "roce_packet.h"
#include "roce_qp.h"

namespace erdma {

class Roce final : public WireProtocol {
public:
    Roce(Adapter& adapter, FrameOutput& output);
    ~Roce() override;

    bool wants(erdma_side side, ConstBytes head) const override;
    bool fromGuest(ConstBytes, const erdma_offload&) override { return false; } // never its own (1.2)
    bool fromWire(ConstBytes raw, const erdma_offload& offload) override;
    void endOfFrames() override;
    PairedNic::Claim connect(QueuePair&) override { return PairedNic::Claim::Refused; } // no command asks for it
    void setMtu(uint16_t mtu) override { mtu_ = mtu; }
    uint64_t deadline() const override;
    void onTimer(uint64_t nowNs) override;
    void runPending() override;
    bool anyPending() const override { return !looped_.empty() || !pending_.empty(); }
    bool reset() override;
    std::string connections() const override;

    // ---- for the commands ----
    GidTable& gids() { return gids_; }
    const GidTable& gids() const { return gids_; }
    AddressHandles& handles() { return handles_; }
    void add(QueuePair& qp);
    void remove(uint32_t qpn);
    RoceQp* find(uint32_t qpn) const;
    uint32_t mtu() const { return mtu_; }
    // Of queue pairs that are not told one (7.4); 0: the interface has room for none.
    uint8_t defaultPathMtuCode() const;
    void traceState(uint32_t qpn, RoceState from, RoceState to);

    // ---- for transports ----
    Adapter& adapter() { return adapter_; }
    // False: there is no source address (any more); nothing was sent (1.4).
    bool send(const AddressVector& av, const RocePacket& packet);
    // Payload.
    size_t mostDatagram() const {
        const uint8_t code = largestPathMtuCode(mtu_);
        return code != 0 ? pathMtuOf(code) : 0;
    }
    RcMemory& memory() { return memory_; }
    void schedule(RoceQp& qp); // its deadline may be another one, or it wants a turn
    void forget(RoceQp& qp);   // it has no transport any more

private:
    std::optional<RoceDatagram> claimed(ConstBytes head) const;
    void split(const RoceDatagram& run, size_t segment);
    void input(const RoceDatagram& datagram);
    RoceQp* receiverOf(const RoceDatagram& datagram, const RocePacket& packet);
    bool fromPeer(const RoceQp& qp, const RoceRoute& route) const;
    void answerMark(RoceQp& qp);

    Adapter& adapter_;
    FrameOutput& output_;
    const Mac mac_;
    GidTable gids_;
    AddressHandles handles_;
    uint16_t mtu_ = 1500;
    uint16_t identification_ = 0;
    std::unordered_map<uint32_t, std::unique_ptr<RoceQp>> qps_;
    std::set<std::pair<uint64_t, RoceQp*>> timers_;
    std::deque<RoceQp*> pending_; // ask for a turn outside the calls of their queue pairs
    RcMemory memory_;
    std::vector<RoceQp*> batch_; // with input since the last endOfFrames()
    std::vector<std::byte> frame_;
    std::deque<std::vector<std::byte>> looped_; // frames to the adapter itself, on their way
};

} // namespace erdma
