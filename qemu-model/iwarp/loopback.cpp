// SPDX-License-Identifier: GPL-2.0-or-later
#include "loopback.h"

#include <memory>

#include "adapter.h"
#include "queue_pair.h"
#include "terminate.h"

namespace erdma {

namespace {

// Shared by the two transports, so that either may go first.  An end is null from its close() on.
struct Link {
    struct End {
        QueuePair* qp = nullptr;
        bool delivering = false; // its queue pair is on the stack and learns from the result what became of the peer
    };
    End ends[2];
};

class Loopback final : public Transport {
public:
    Loopback(std::shared_ptr<Link> link, unsigned self) : link_(std::move(link)), self_(self) {}

    ~Loopback() override { link_->ends[self_].qp = nullptr; }

    Placement deliver(const Segment& segment) override {
        // The link outlives this object: what the peer does in return may destroy it.
        const std::shared_ptr<Link> link = link_;
        Link::End& own = link->ends[self_];
        Link::End& peer = link->ends[1 - self_];
        if (peer.qp == nullptr || peer.delivering || own.delivering)
            return lost();
        own.delivering = true;
        const Placement placement = peer.qp->inbound(segment);
        own.delivering = false;
        if (placement.kind == Placement::Kind::Accepted)
            ++sent_;
        return placement.kind == Placement::Kind::Gone ? lost() : placement;
    }

    size_t maxPayload(bool) const override { return kMaxSegmentPayload; }
    uint64_t sent() const override { return sent_; }
    uint64_t acknowledged() const override { return sent_; } // placed when deliver() returns

    Limit limit() const override {
        const QueuePair* peer = link_->ends[1 - self_].qp;
        return peer != nullptr && peer->starving() ? Limit::PeerBuffers : Limit::Idle;
    }

    void readyToReceive() override {
        if (QueuePair* peer = link_->ends[1 - self_].qp)
            peer->resume();
    }

    unsigned runPeer(unsigned budget) override {
        QueuePair* peer = link_->ends[1 - self_].qp;
        return peer == nullptr ? 0 : peer->serve(budget);
    }

    void close(bool graceful) override {
        link_->ends[self_].qp = nullptr;
        Link::End& peer = link_->ends[1 - self_];
        if (peer.qp != nullptr && !peer.delivering)
            peer.qp->peerClosed(graceful);
    }

    RefusalCode codeOf(Refusal why) const override { return terminateCode(why); }

private:
    Placement lost() const { return {Placement::Kind::Failed, codeOf(Refusal::Gone), Syndrome::Flushed}; }

    std::shared_ptr<Link> link_;
    unsigned self_;
    uint64_t sent_ = 0; // segments
};

// Connects both for good; they become active.
void pairByLoopback(QueuePair& first, QueuePair& second) {
    auto link = std::make_shared<Link>();
    link->ends[0].qp = &first;
    link->ends[1].qp = &second;
    first.attach(std::make_unique<Loopback>(link, 0));
    second.attach(std::make_unique<Loopback>(link, 1));
}

} // namespace

LoopbackFabric::Tuple LoopbackFabric::tupleOf(const QueuePair& qp) {
    const Handover& c = qp.handover();
    return {{c.ownIp, c.ownPort}, {c.peerIp, c.peerPort}};
}

Status LoopbackFabric::connect(QueuePair& qp) {
    const Tuple tuple = tupleOf(qp);
    if (owners_.contains(tuple))
        return Status::Invalid;

    const auto mirror = owners_.find(Tuple{tuple.peer, tuple.own});
    if (mirror == owners_.end() || !mirror->second->waiting()) {
        owners_.emplace(tuple, &qp);
        return Status::Ok;
    }
    QueuePair& other = *mirror->second;
    const Handover& a = qp.handover();
    const Handover& b = other.handover();
    if (a.sendStart != b.recvStart || a.recvStart != b.sendStart)
        return Status::Invalid;
    owners_.emplace(tuple, &qp);
    ++qp.adapter().counters[Counter::Pairings];
    pairByLoopback(other, qp);
    return Status::Ok;
}

void LoopbackFabric::forget(QueuePair& qp) {
    const auto entry = owners_.find(tupleOf(qp));
    if (entry != owners_.end() && entry->second == &qp)
        owners_.erase(entry);
}

} // namespace erdma
