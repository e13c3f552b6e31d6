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
    // Valid until the next change.
    ConstBytes view() const { return ConstBytes(octets_).subspan(head_); }
    ConstBytes view(size_t offset, size_t length) const { return view().subspan(offset, length); }

    void append(ConstBytes more) {
        // The dead part in front is reclaimed when that is cheaper than growing.
        if (head_ != 0 && octets_.size() + more.size() > octets_.capacity() && head_ >= size()) {
            octets_.erase(octets_.begin(), octets_.begin() + static_cast<std::ptrdiff_t>(head_));
            head_ = 0;
        }
        octets_.insert(octets_.end(), more.begin(), more.end());
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
    std::vector<std::byte> octets_;
    size_t head_ = 0;
};

} // namespace erdma
