// SPDX-License-Identifier: GPL-2.0-or-later
#include "ud.h"

#include <algorithm>

#include "byteorder.h"
#include "roce.h"
#include "roce_qp.h"

namespace erdma {

namespace {

constexpr size_t kGrhBytes = 40;   // before each payload (2.13)
constexpr size_t kMostRead = 9216; // payload; more than any interface carries
constexpr uint32_t k24Bits = 0xFFFFFF;

constexpr Placement kRefused{Placement::Kind::Failed, {}, Syndrome::SendFormat};

// Words @20, @24 and @28 of the CQE (13.4, roce.md 1.9).
std::array<uint32_t, 3> tailOf(const RoceRoute& route, const RocePacket& packet) {
    const uint32_t control = route.vlan.value_or(0);
    const uint32_t vlan = control & 0xFFF;
    const uint32_t serviceLevel = control >> 13;
    return {packet.sourceQpn, vlan != 0 ? 1u << 12 | vlan : 0,
            (route.ipv6 ? 1u << 31 : 0) | serviceLevel << 20 | (packet.sourceQpn & 0xFFFFF)};
}

} // namespace

Placement UdTransport::deliver(const Segment& segment) {
    Counters& counters = roce_.adapter().counters;
    if (segment.op == SegmentOp::Terminate)
        return {};
    const bool oversized = segment.offset != 0 || !segment.last || segment.payload.size() > roce_.mostDatagram();
    if (oversized) { // completes as if it had left (5.2)
        if (segment.last)
            ++counters[Counter::RoceUdOversized];
        return {};
    }
    const AddressHandle* handle = roce_.handles().find(loadLe32(segment.address, 8));
    // Nothing else keeps a process from the handles of others.
    if (handle == nullptr || handle->pd != qp_.pair().config().pd)
        return kRefused;
    RocePacket packet;
    const bool immediate = segment.op == SegmentOp::SendImm || segment.op == SegmentOp::SendImmSe;
    packet.op = immediate ? RoceOp::UdSendImm : RoceOp::UdSend;
    packet.solicited = segment.op == SegmentOp::SendSe || segment.op == SegmentOp::SendImmSe;
    packet.qkey = loadLe32(segment.address, 0);
    packet.destinationQpn = loadLe32(segment.address, 4) & k24Bits;
    packet.sourceQpn = qp_.qpn();
    packet.immediate = segment.immediate;
    packet.psn = psn_;
    packet.payload = segment.payload;
    if (!roce_.send(handle->av, packet))
        return kRefused;
    psn_ = (psn_ + 1) & k24Bits;
    return {};
}

void UdTransport::close(bool) { qp_.closed(); }

void UdTransport::input(const RoceDatagram& datagram, const RocePacket& packet) {
    // Not the fabric's own buffer: nothing that the queue pair does may overwrite it.
    std::array<std::byte, kGrhBytes + kMostRead> octets;
    if (packet.payload.size() > kMostRead) { // no NIC lets it through
        ++roce_.adapter().counters[Counter::RoceBadLength];
        return;
    }
    buildGrh(datagram, Bytes(octets).first(kGrhBytes));
    std::copy(packet.payload.begin(), packet.payload.end(), octets.begin() + kGrhBytes);
    Datagram received;
    received.octets = ConstBytes(octets).first(kGrhBytes + packet.payload.size());
    if (packet.op == RoceOp::UdSendImm)
        received.immediate = packet.immediate;
    received.solicited = packet.solicited;
    received.tail = tailOf(datagram.route, packet);
    switch (qp_.pair().inbound(received)) {
    case DatagramFate::NoBuffer:
    case DatagramFate::TooLong:
        ++roce_.adapter().counters[Counter::RoceUdNoBuffer];
        break;
    case DatagramFate::Received:
    case DatagramFate::Broken:
        break;
    }
}

} // namespace erdma
