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

void Nic::toWire(const TcpFrame& frame) {
    if (!impairment_.active()) {
        send(ERDMA_TO_WIRE, frame);
        return;
    }
    std::vector<std::byte> octets;
    buildTcpFrame(frame, octets);
    impairment_.push(ERDMA_TO_WIRE, octets, {}, adapter_.host.nowNs());
}

void Nic::toWire(ConstBytes frame) {
    if (impairment_.active())
        impairment_.push(ERDMA_TO_WIRE, frame, {}, adapter_.host.nowNs());
    else
        adapter_.host.sendFrame(ERDMA_TO_WIRE, frame, {});
}

// Built where it waits for the end of the run.
void Nic::send(erdma_side side, const TcpFrame& frame) {
    adapter_.effects.buildFrame(side, tcpFrameBytes(frame), {},
                                [&](std::vector<std::byte>& out) { buildTcpFrame(frame, out); });
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
