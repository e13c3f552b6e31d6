// SPDX-License-Identifier: GPL-2.0-or-later
#include "nic.h"

namespace erdma {

bool Nic::wants(erdma_side, ConstBytes, size_t) const { return impairment_.active(); }

bool Nic::frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    if (!impairment_.active())
        return false;
    impairment_.push(side, frame, offload, device_.host().nowNs());
    return true;
}

void Nic::onTimer(uint64_t nowNs) {
    impairment_.onTimer(nowNs, [this](erdma_side side, ConstBytes frame, const erdma_offload& offload) {
        device_.host().sendFrame(side, frame, offload);
    });
}

} // namespace erdma
