// SPDX-License-Identifier: GPL-2.0-or-later
#include "completion_queue.h"

#include <utility>

#include "byteorder.h"

namespace erdma {

namespace {
constexpr uint32_t kOwner = 1u << 31;
constexpr uint64_t kArm = 1u << 31;
constexpr uint64_t kSolicitedOnly = 1u << 30;
constexpr uint64_t kIndexMask = 0xFFFFFF;
} // namespace

void CompletionQueue::raise(const std::function<void()>& fire) {
    armed_ = Armed::None;
    reminding_ = false;
    reported_ = producer_;
    fire();
}

bool CompletionQueue::postRaw(Host& host, uint32_t header, const std::array<uint32_t, 7>& words, bool wakes,
                              const std::function<void()>& fire) {
    if (broken_)
        return false;
    std::array<std::byte, kEntryBytes> raw;
    storeBe32(raw, 0, (header & ~kOwner) | (owner() ? kOwner : 0));
    for (size_t i = 0; i < words.size(); ++i)
        storeBe32(raw, 4 + i * 4, words[i]);

    const uint64_t slot = producer_ & ((uint64_t{1} << depthLog_) - 1);
    const ConstBytes bytes(raw);
    // A reader takes the entry as soon as the header has the right owner bit: everything else first.
    bool written = ring_.write(host, slot * kEntryBytes + 4, bytes.subspan(4));
    if (written) {
        host.barrier();
        written = ring_.write(host, slot * kEntryBytes, bytes.first(4));
    }
    if (!written) {
        broken_ = true;
        return false;
    }
    ++producer_;
    if (wakes)
        solicitedEnd_ = producer_;
    if (armed_ == Armed::Any || (armed_ == Armed::Solicited && wakes))
        raise(fire);
    return true;
}

bool CompletionQueue::post(Host& host, const Completion& completion, const std::function<void()>& fire) {
    const uint32_t header = static_cast<uint32_t>(completion.op) << 16 | static_cast<uint32_t>(completion.queue) << 8 |
                            static_cast<uint32_t>(completion.syndrome);
    // The immediate is the one little-endian word of the entry (7.4).
    const bool immediate = completion.queue == QueueType::Receive &&
                           (completion.op == Op::RecvWriteImm || completion.op == Op::RecvSendImm);
    const uint32_t word12 = immediate ? byteSwapped(completion.word12) : completion.word12;
    const bool wakes = completion.solicited || completion.syndrome != Syndrome::Success;
    const auto& tail = completion.tail;
    return postRaw(host, header,
                   {completion.index, completion.qpn, word12, completion.bytes, tail[0], tail[1], tail[2]}, wakes,
                   fire);
}

uint32_t CompletionQueue::arm(uint64_t doorbell, const std::function<void()>& fire) {
    if ((doorbell & kArm) == 0)
        return 0;
    reminding_ = false;
    const auto fetched = static_cast<uint8_t>(doorbell >> 28 & 3);
    const bool fetchedMore = std::exchange(fetched_, fetched) != fetched;
    const uint64_t unseen = (producer_ - doorbell) & kIndexMask; // entries behind the host's CI
    if ((doorbell & kSolicitedOnly) == 0) {
        armed_ = Armed::Any;
        reminding_ = unseen != 0 && fetchedMore && reported_ == producer_;
        if (unseen != 0 && !reminding_)
            raise(fire);
        return reminding_ ? static_cast<uint32_t>(unseen) : 0;
    }
    if (solicitedEnd_ != 0 && producer_ - solicitedEnd_ < unseen)
        raise(fire);
    else if (armed_ == Armed::None)
        armed_ = Armed::Solicited;
    return 0;
}

void CompletionQueue::remind(const std::function<void()>& fire) {
    if (reminding_)
        raise(fire);
}

void CompletionQueue::wake(const std::function<void()>& fire) {
    if (armed_ == Armed::Any)
        raise(fire);
}

} // namespace erdma
