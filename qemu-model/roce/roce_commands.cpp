// SPDX-License-Identifier: GPL-2.0-or-later
#include "roce_commands.h"

namespace erdma {

namespace {

enum Opcode : uint8_t { kSetGid = 14, kCreateAh = 15, kDestroyAh = 16, kQueryQp = 17 };

// Of GET_EXT_ATTR (roce.md 1.9): MODIFY_QP carries the attributes of RcAttributes; SET_GID and CQEs carry VLANs.
constexpr uint32_t kQpx = 1u << 16, kUdx = 1u << 17;

constexpr uint32_t kTypeRc = 0, kTypeUd = 1; // CREATE_QP

} // namespace

uint64_t RoceCommands::capabilities() const {
    return uint64_t{GidTable::kSizeLog} << 48 | uint64_t{AddressHandles::kLimitLog} << 8;
}

uint32_t RoceCommands::attributes() const { return kQpx | kUdx; }

const char* RoceCommands::commandName(uint8_t opcode) const {
    switch (opcode) {
    case kSetGid:
        return "SET_GID";
    case kCreateAh:
        return "CREATE_AH";
    case kDestroyAh:
        return "DESTROY_AH";
    case kQueryQp:
        return "QUERY_QP";
    default:
        return nullptr;
    }
}

CommandReply RoceCommands::command(uint8_t opcode, ConstBytes request) {
    switch (opcode) {
    case kSetGid:
        return roce_.gids().set(request);
    case kCreateAh:
        return roce_.handles().create(request);
    case kDestroyAh:
        return roce_.handles().destroy(request);
    case kQueryQp: {
        const RoceQp* qp = roce_.find(loadLe32(request, 8));
        return qp ? CommandReply{Status::Ok, qp->query()} : CommandReply{Status::NotFound};
    }
    default:
        return Status::NotSupported;
    }
}

Status RoceCommands::prepare(ConstBytes request, QpConfig& config) {
    const uint32_t type = loadLe32(request, 116) & 0xF;
    if (type != kTypeRc && type != kTypeUd)
        return Status::Invalid;
    config.datagram = type == kTypeUd;
    return config.qpn == kGsiQpn && !config.datagram ? Status::Invalid : Status::Ok;
}

Status RoceCommands::modify(QueuePair& qp, ConstBytes request) {
    RoceQp* own = roce_.find(qp.qpn());
    return own ? own->modify(request) : Status::NotFound;
}

Status RoceCommands::reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) {
    RoceQp* own = roce_.find(qp.qpn());
    return own ? own->reflush(sqPi, rqPi) : Status::NotFound;
}

} // namespace erdma
