// SPDX-License-Identifier: GPL-2.0-or-later
// First-in first-out list that costs nothing while unused and nothing per element afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace erdma {

// Elements are addressed by a sequence number that counts pushes since construction; it stays valid until the element
// is popped.  Grows by doubling, never shrinks; the caller bounds size().
template <typename T> class Fifo {
public:
    bool empty() const { return head_ == tail_; }
    size_t size() const { return static_cast<size_t>(tail_ - head_); }
    uint64_t begin() const { return head_; } // sequence number of front()
    uint64_t end() const { return tail_; }   // sequence number that the next push gets
    T& at(uint64_t sequence) { return slots_[static_cast<size_t>(sequence) & (slots_.size() - 1)]; }
    const T& at(uint64_t sequence) const { return slots_[static_cast<size_t>(sequence) & (slots_.size() - 1)]; }
    T& front() { return at(head_); }
    void pop() { ++head_; }
    void clear() { head_ = tail_; }
    // An empty one gives back what it has grown to, if that is more than `slots`.
    void shrink(size_t slots) {
        if (empty() && slots_.size() > slots)
            slots_ = {};
    }

    void push(const T& value) {
        if (size() == slots_.size())
            grow();
        at(tail_) = value;
        ++tail_;
    }

private:
    void grow() {
        std::vector<T> larger(slots_.empty() ? 4 : slots_.size() * 2);
        for (uint64_t s = head_; s != tail_; ++s)
            larger[static_cast<size_t>(s) & (larger.size() - 1)] = at(s);
        slots_.swap(larger);
    }

    std::vector<T> slots_; // a power of two, or empty
    uint64_t head_ = 0;
    uint64_t tail_ = 0;
};

} // namespace erdma
