// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

namespace erdma {

void Events::close() {
    async_.close();
    for (EventQueue& queue : queues_)
        queue.close();
}

void Events::doorbell(EventQueue& queue, uint64_t value) {
    if (common_.faults.losesDoorbell(Doorbell::Event))
        return;
    if (!queue.isOpen())
        common_.badDoorbell("doorbell of an event queue that does not exist");
    else if (!queue.doorbell(common_.host, common_.counters, value))
        common_.badDoorbell("event queue doorbell with an impossible consumer index");
}

void Events::raise(AsyncEvent type, uint32_t number, uint32_t detail) {
    if (!common_.running)
        return;
    common_.host.trace(ERDMA_TRACE_ERROR, number, static_cast<uint64_t>(type), detail, "asynchronous event");
    if (async_.post(common_.host, common_.counters, {static_cast<uint32_t>(type) << 16, number, detail, 0}))
        ++common_.counters[Counter::AsyncEvents];
    else
        ++common_.counters[Counter::LostEvents];
}

void Events::raise(const CompletionQueue& cq) {
    EventQueue& queue = queues_[cq.eqn()];
    if (!queue.isOpen())
        return;
    if (queue.postForCq(common_.host, common_.counters, cq.cqn(), cq.producer()))
        ++common_.counters[Counter::CqEvents];
    else
        ++common_.counters[Counter::LostEvents];
}

} // namespace erdma
