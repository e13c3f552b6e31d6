// SPDX-License-Identifier: GPL-2.0-or-later
#include "page_table.h"

#include <algorithm>

#include "byteorder.h"

namespace erdma {

RingView::RingView(std::vector<uint64_t> pages, uint64_t pageBytes, uint64_t firstOffset, uint64_t ringBytes)
    : pages_(std::move(pages)), pageBytes_(pageBytes), firstOffset_(firstOffset), ringBytes_(ringBytes) {}

template <typename Span, typename Copy> bool RingView::eachPiece(uint64_t offset, Span span, Copy copy) const {
    if (offset > ringBytes_ || span.size() > ringBytes_ - offset)
        return false;
    uint64_t position = firstOffset_ + offset;
    while (!span.empty()) {
        const uint64_t page = position / pageBytes_;
        const uint64_t inside = position % pageBytes_;
        if (page >= pages_.size())
            return false;
        const auto piece = static_cast<size_t>(std::min<uint64_t>(span.size(), pageBytes_ - inside));
        const auto at = behind(pages_[static_cast<size_t>(page)], inside, piece);
        if (!at || !copy(*at, span.first(piece)))
            return false;
        span = span.subspan(piece);
        position += piece;
    }
    return true;
}

bool RingView::read(Host& host, uint64_t offset, Bytes out) const {
    return eachPiece(offset, out, [&](uint64_t addr, Bytes piece) { return host.read(addr, piece); });
}

bool RingView::write(Host& host, uint64_t offset, ConstBytes in) const {
    return eachPiece(offset, in, [&](uint64_t addr, ConstBytes piece) { return host.write(addr, piece); });
}

Status loadRing(Host& host, const RingRequest& request, uint64_t maxPages, RingView& ring) {
    if (request.bytes == 0 || request.count == 0)
        return Status::Invalid;
    const uint64_t first = request.offset >> request.pageShift;
    const uint64_t last = (request.offset + (request.bytes - 1)) >> request.pageShift;
    if (last >= request.count || (!request.table && last >= request.inlined.size()))
        return Status::Invalid;
    const uint64_t used = last - first + 1;
    if (used > maxPages)
        return Status::NoMemory;

    std::vector<uint64_t> pages(static_cast<size_t>(used));
    if (request.table) {
        const auto at = behind(request.address, first * 8, used * 8);
        if (!at || !host.read(*at, std::as_writable_bytes(std::span(pages))))
            return Status::Fault;
        for (uint64_t& page : pages)
            page = toOrder(page, std::endian::little);
    } else {
        std::copy_n(request.inlined.begin() + static_cast<std::ptrdiff_t>(first), pages.size(), pages.begin());
    }
    const uint64_t pageBytes = uint64_t{1} << request.pageShift;
    ring = RingView(std::move(pages), pageBytes, request.offset & (pageBytes - 1), request.bytes);
    return Status::Ok;
}

} // namespace erdma
