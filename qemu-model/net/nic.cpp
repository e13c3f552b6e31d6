// SPDX-License-Identifier: GPL-2.0-or-later
#include "nic.h"

#include <algorithm>

namespace erdma {

bool Nic::wants(erdma_side side, ConstBytes head, size_t) const {
    return impairment_.active() || protocol_->wants(side, head);
}

bool Nic::frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    if (side == ERDMA_TO_WIRE && protocol_->fromGuest(frame, offload))
        return true;
    if (impairment_.active()) {
        impairment_.push(side, frame, offload, adapter_.host.nowNs());
        return true;
    }
    return side == ERDMA_TO_GUEST && protocol_->fromWire(frame, offload);
}

void Nic::toGuest(ConstBytes frame, const erdma_offload& offload) {
    adapter_.host.sendFrame(ERDMA_TO_GUEST, frame, offload);
}

void Nic::toWire(ConstBytes frame) {
    const erdma_offload plain{};
    if (impairment_.active())
        impairment_.push(ERDMA_TO_WIRE, frame, plain, adapter_.host.nowNs());
    else
        adapter_.host.sendFrame(ERDMA_TO_WIRE, frame, plain);
}

uint64_t Nic::deadline() const { return std::min(impairment_.deadline(), protocol_->deadline()); }

void Nic::onTimer(uint64_t nowNs) {
    impairment_.deliverDue(nowNs, [this](erdma_side side, ConstBytes frame, const erdma_offload& offload) {
        if (side == ERDMA_TO_WIRE || !protocol_->fromWire(frame, offload))
            adapter_.host.sendFrame(side, frame, offload);
    });
    protocol_->endOfFrames();
    protocol_->onTimer(nowNs);
}

} // namespace erdma
