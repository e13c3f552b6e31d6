// SPDX-License-Identifier: GPL-2.0-or-later
#include "fabric.h"

#include "device.h"
#include "loopback.h"
#include "queue_pair.h"

namespace erdma {

Fabric::Tuple Fabric::tupleOf(const QueuePair& qp) {
    const QpModify& c = qp.connection();
    return Tuple{uint64_t{c.ownIp} << 16 | c.ownPort, uint64_t{c.peerIp} << 16 | c.peerPort};
}

Status Fabric::connect(QueuePair& qp) {
    const Tuple tuple = tupleOf(qp);
    if (owners_.contains(tuple))
        return Status::Invalid;

    const auto mirror = owners_.find(Tuple{tuple.peer, tuple.own});
    if (mirror == owners_.end() || !mirror->second->waiting()) {
        owners_.emplace(tuple, &qp);
        return Status::Ok;
    }
    QueuePair& other = *mirror->second;
    const QpModify& a = qp.connection();
    const QpModify& b = other.connection();
    if (a.sendNxt != b.recvNxt || a.recvNxt != b.sendNxt)
        return Status::Invalid;
    owners_.emplace(tuple, &qp);
    ++qp.device().counters()[Counter::Pairings];
    pairByLoopback(other, qp);
    return Status::Ok;
}

void Fabric::forget(QueuePair& qp) {
    const auto entry = owners_.find(tupleOf(qp));
    if (entry != owners_.end() && entry->second == &qp)
        owners_.erase(entry);
}

Bytes Fabric::scratch() {
    scratch_.resize(kMaxSegmentPayload);
    return scratch_;
}

} // namespace erdma
