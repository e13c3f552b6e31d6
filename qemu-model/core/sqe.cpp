// SPDX-License-Identifier: GPL-2.0-or-later
#include "sqe.h"

#include <iterator>

namespace erdma {

namespace {
constexpr size_t kAddressOffset = 16;
} // namespace

Sge Sqe::sgeAt(size_t offset) const {
    const ConstBytes b = bytes();
    return Sge{loadLe64(b, offset), loadLe32(b, offset + 8), loadLe32(b, offset + 12)};
}

// Inline data or SGEs from `offset` on; they must fill exactly the WQEBBs announced and add up to the total length.
bool Sqe::decodeData(size_t offset) {
    inlined = header.inlined();
    const uint32_t entries = header.sglLength();
    if (entries > (inlined ? kMaxInlineBytes : kMaxSendSges))
        return false;
    const size_t used = offset + (inlined ? size_t{entries} : size_t{entries} * 16);
    if ((used + kWqebbBytes - 1) / kWqebbBytes != header.wqebbs())
        return false;
    if (inlined) {
        inlineOffset = offset;
        return length == entries;
    }
    sgeCount = entries;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < entries; ++i) {
        sges[i] = sgeAt(offset + size_t{i} * 16);
        sum += sges[i].length;
    }
    return sum == length;
}

bool Sqe::decodeRegistration() {
    const ConstBytes b = bytes();
    const uint32_t attributes = loadLe32(b, 24);
    const uint32_t tableType = attributes >> 6 & 3;
    registration = FastRegister{};
    registration.iova = loadLe64(b, 8);
    registration.length = loadLe32(b, 16);
    registration.stag = loadLe32(b, 20);
    registration.access = attributes & access::kMask;
    registration.count = attributes >> 12;
    registration.inlineList = tableType == 0;
    registration.pageShift = static_cast<uint8_t>((attributes & 1) != 0 ? loadLe32(b, 28) & 0x1F : 12);
    if (tableType > 1 || registration.pageShift < 12)
        return false;
    const bool list = registration.inlineList && registration.count != 0;
    if (list && registration.count > std::size(registration.pages))
        return false;
    if (header.wqebbs() != (list ? 2u : 1u))
        return false;
    for (uint32_t i = 0; list && i < registration.count; ++i)
        registration.pages[i] = loadLe64(b, kWqebbBytes + size_t{i} * 8);
    return true;
}

bool Sqe::decode(bool addressed) {
    const ConstBytes b = bytes();
    if (addressed && op() != Op::Send && op() != Op::SendImm)
        return false;
    inlined = immediate = invalidate = false;
    word8 = 0;
    sgeCount = 0;
    length = loadLe32(b, 12);

    switch (op()) {
    case Op::Send:
    case Op::SendImm:
    case Op::SendInv:
        kind = SqeKind::Send;
        immediate = op() == Op::SendImm;
        invalidate = op() == Op::SendInv;
        word8 = immediate ? loadBe32(b, 8) : loadLe32(b, 8);
        if (addressed) {
            address = b.subspan(kAddressOffset, kWqebbBytes - kAddressOffset);
            return decodeData(kWqebbBytes);
        }
        return decodeData(16);

    case Op::Write:
    case Op::WriteImm:
        kind = SqeKind::Write;
        immediate = op() == Op::WriteImm;
        word8 = loadBe32(b, 8);
        remoteStag = loadLe32(b, 16);
        remoteTo = loadLe64(b, 20);
        return decodeData(kWqebbBytes);

    case Op::Read:
    case Op::ReadInv: {
        kind = SqeKind::Read;
        invalidate = op() == Op::ReadInv;
        word8 = loadLe32(b, 8);
        sgeCount = 1;
        sges[0] = Sge{loadLe64(b, 20), length, loadLe32(b, 16)};
        const Sge source = sgeAt(kWqebbBytes);
        remoteStag = source.stag;
        remoteTo = source.addr;
        return header.wqebbs() == 2;
    }

    case Op::CompareSwap:
    case Op::FetchAdd: {
        kind = SqeKind::Atomic;
        length = 8;
        operand = loadLe64(b, 16);
        compare = loadLe64(b, 24);
        const Sge target = sgeAt(kWqebbBytes);
        remoteStag = target.stag;
        remoteTo = target.addr;
        sgeCount = 1;
        sges[0] = sgeAt(kWqebbBytes + 16);
        return header.wqebbs() == 2;
    }

    case Op::RegMr:
        kind = SqeKind::FastRegister;
        length = 0;
        return decodeRegistration();

    case Op::LocalInv:
        kind = SqeKind::LocalInvalidate;
        invalidate = true;
        length = 0;
        word8 = loadLe32(b, 20);
        return header.wqebbs() == 1;

    case Op::RecvSend:
    case Op::RecvWriteImm:
    case Op::RecvSendInv:
    case Op::RecvSendImm:
        break;
    }
    return false;
}

} // namespace erdma
