// SPDX-License-Identifier: GPL-2.0-or-later
#include "iwarp_commands.h"

#include "byteorder.h"
#include "queue_pair.h"

namespace erdma {

Status IwarpCommands::modify(QueuePair& qp, ConstBytes request) {
    const uint32_t cfg = loadLe32(request, 8);
    QpModify change;
    change.qpn = qp.qpn();
    const uint32_t state = cfg >> 24;
    if (state > static_cast<uint32_t>(QpState::Error))
        return Status::Invalid;
    change.state = static_cast<QpState>(state);
    if (change.state == QpState::Rts) { // for every other state the rest of the request is garbage
        Handover& to = change.handover;
        to.congestionControl = static_cast<uint8_t>(cfg >> 20 & 0xF);
        to.cookie = loadLe32(request, 12);
        to.peerIp = loadBe32(request, 16);
        to.ownIp = loadBe32(request, 20);
        to.ownPort = loadBe16(request, 24);
        to.peerPort = loadBe16(request, 26);
        to.sendStart = loadLe32(request, 28);
        to.recvStart = loadLe32(request, 32);
    }
    return qp.modify(change);
}

Status IwarpCommands::reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) { return qp.reflush(sqPi, rqPi); }

} // namespace erdma
