// SPDX-License-Identifier: GPL-2.0-or-later
#include "iwarp_commands.h"

#include "byteorder.h"
#include "queue_pair.h"

namespace erdma {

namespace {

constexpr uint64_t kFlagIpv6 = 1u << 28;
// Of this model alone (docs/capabilities.md).
constexpr uint64_t kModelMpaCrc = uint64_t{1} << 56;
constexpr uint64_t kModelRfc7306 = uint64_t{1} << 57;
constexpr uint32_t kCookieIpv6 = 1u << 31; // of MODIFY_QP: its IPv6 addresses count
constexpr uint32_t kFlowLabelMask = 0xFFFFF;
constexpr size_t kIpv6Bytes = 80; // of a MODIFY_QP that has the addresses

} // namespace

uint64_t IwarpCommands::capabilities() const {
    return (config_.ipv6 ? kFlagIpv6 : 0) | (config_.mpa_crc ? kModelMpaCrc : 0) |
           (config_.rfc7306 ? kModelRfc7306 : 0);
}

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
        // A driver that knows the capability sets the bit itself; one that does not may pass on a peer's cookie that has
        // it, and then the short entry of those has no room for addresses.
        if (config_.ipv6 && (to.cookie & kCookieIpv6) != 0 && request.size() >= kIpv6Bytes) {
            to.flowLabel = loadBe32(request, 44) & kFlowLabelMask;
            to.peerIp = IpAddress::load(request, 48);
            to.ownIp = IpAddress::load(request, 64);
            if (!to.peerIp.isV6Host() || !to.ownIp.isV6Host())
                return Status::Invalid;
        }
    }
    return qp.modify(change);
}

Status IwarpCommands::reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) { return qp.reflush(sqPi, rqPi); }

} // namespace erdma
