// SPDX-License-Identifier: GPL-2.0-or-later
// Octets in order: appended behind, taken in front, seen as one piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "host.h"

namespace erdma {

class OctetQueue {
public:
    size_t size() const { return octets_.size() - head_; }
    bool empty() const { return size() == 0; }
    size_t capacity() const { return octets_.capacity(); }
    // Valid until the next change.
    ConstBytes view() const { return ConstBytes(octets_).subspan(head_); }
    ConstBytes view(size_t offset, size_t length) const { return view().subspan(offset, length); }

    void append(ConstBytes more) {
        makeRoom(more.size());
        octets_.insert(octets_.end(), more.begin(), more.end());
    }
    // `write` appends at most `most` octets to the vector that it gets.  Returns how many it did.
    template <typename Write> size_t append(size_t most, Write write) {
        makeRoom(most);
        const size_t before = octets_.size();
        write(octets_);
        return octets_.size() - before;
    }
    void drop(size_t length) {
        head_ += std::min(length, size());
        if (head_ == octets_.size())
            clear();
    }
    void clear() {
        head_ = 0;
        octets_.clear();
    }
    void release() { // gives the memory back
        clear();
        octets_.shrink_to_fit();
    }

private:
    void makeRoom(size_t more) {
        const size_t needed = octets_.size() + more;
        if (needed <= octets_.capacity())
            return;
        // The dead part in front is reclaimed when that is cheaper than growing.
        if (head_ != 0 && head_ >= size()) {
            octets_.erase(octets_.begin(), octets_.begin() + static_cast<std::ptrdiff_t>(head_));
            head_ = 0;
        }
        if (octets_.size() + more > octets_.capacity())
            octets_.reserve(std::max(octets_.size() + more, 2 * octets_.capacity()));
    }

    std::vector<std::byte> octets_;
    size_t head_ = 0;
};

} // namespace erdma
