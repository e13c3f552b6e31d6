// SPDX-License-Identifier: GPL-2.0-or-later
#include "queue_pairs.h"

#include <algorithm>

namespace erdma {

const QueuePairs::Slot* QueuePairs::slot(uint32_t qpn) const {
    const auto at = slots_.find(qpn);
    return at == slots_.end() ? nullptr : &at->second;
}

QueuePair* QueuePairs::find(uint32_t qpn) const {
    const Slot* found = slot(qpn);
    return found ? found->pair.get() : nullptr;
}

void QueuePairs::add(QpConfig config, Slot slot) {
    const uint32_t qpn = config.qpn;
    adapter_.rings.take(config.sq);
    adapter_.rings.take(config.rq);
    slot.pair = std::make_unique<QueuePair>(adapter_, std::move(config));
    slots_.emplace(qpn, std::move(slot));
    adapter_.counters[Counter::QpsNow] = slots_.size();
}

Status QueuePairs::destroy(uint32_t qpn) {
    const auto at = slots_.find(qpn);
    if (at == slots_.end())
        return Status::NotFound;
    const auto node = slots_.extract(at); // destroyed at the end: its destructor must not find it here
    QueuePair& qp = *node.mapped().pair;
    if (adapter_.observer)
        adapter_.observer->queuePairGone(qp);
    adapter_.scheduler.forget(qp);
    adapter_.rings.giveBack(qp.config().sq);
    adapter_.rings.giveBack(qp.config().rq);
    adapter_.counters[Counter::QpsNow] = slots_.size();
    return Status::Ok;
}

void QueuePairs::stopThoseOf(const std::vector<uint32_t>& cqns) {
    if (cqns.empty())
        return;
    for (const auto& [qpn, slot] : slots_) {
        const QpConfig& config = slot.pair->config();
        if (std::ranges::any_of(cqns, [&](uint32_t cqn) { return cqn == config.sendCqn || cqn == config.recvCqn; }))
            doomed_.push_back(qpn);
    }
}

void QueuePairs::stopSome() {
    for (; !doomed_.empty() && !adapter_.budget.spent(); doomed_.pop_back()) {
        adapter_.budget.charge(16);
        if (QueuePair* qp = find(doomed_.back()))
            qp->modify({.qpn = qp->qpn(), .state = QpState::Error});
    }
}

void QueuePairs::clear() {
    doomed_.clear();
    while (!slots_.empty() && !adapter_.budget.spent()) {
        adapter_.budget.charge(16);
        // Out of the map first: the destructor may look queue pairs up.
        const auto node = slots_.extract(slots_.begin());
        adapter_.scheduler.forget(*node.mapped().pair);
    }
}

} // namespace erdma
