// SPDX-License-Identifier: GPL-2.0-or-later
#include "address_handles.h"

#include "gid_table.h"

namespace erdma {

Status AddressHandles::create(ConstBytes request) {
    const uint32_t number = loadLe32(request, 12);
    AddressHandle handle{loadLe32(request, 8), AddressVector::at(request, 16)};
    if (number >= 1u << kLimitLog || handle.av.gidIndex >= 1u << GidTable::kSizeLog || !handle.av.consistent())
        return Status::Invalid;
    handles_[number] = handle; // the host uses numbers again that it could not destroy
    return Status::Ok;
}

Status AddressHandles::destroy(ConstBytes request) {
    return handles_.erase(loadLe32(request, 12)) != 0 ? Status::Ok : Status::NotFound;
}

const AddressHandle* AddressHandles::find(uint32_t number) const {
    const auto at = handles_.find(number);
    return at == handles_.end() ? nullptr : &at->second;
}

} // namespace erdma
