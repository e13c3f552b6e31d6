// SPDX-License-Identifier: GPL-2.0-or-later
// Address handles: where datagrams go, by a number that the host chose (CREATE_AH, DESTROY_AH; roce.md 5.7).
#pragma once

#include <cstdint>
#include <unordered_map>

#include "address_vector.h"
#include "hw.h"

namespace erdma {

struct AddressHandle {
    uint32_t pd = 0;
    AddressVector av;
};

class AddressHandles {
public:
    static constexpr uint32_t kLimitLog = 16;

    // Whole requests.
    Status create(ConstBytes request);
    Status destroy(ConstBytes request);
    void clear() { handles_.clear(); }
    const AddressHandle* find(uint32_t number) const;
    size_t size() const { return handles_.size(); }

private:
    std::unordered_map<uint32_t, AddressHandle> handles_; // bounded by the limit of their numbers
};

} // namespace erdma
