// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that the adapters of one process share.
#pragma once

#include <cstddef>
#include <vector>

#include "bytes.h"
#include "entry.h"
#include "hw.h"

namespace erdma {

class QueuePair;

inline constexpr size_t kMaxSegmentPayload = 64 * 1024;

class Fabric {
public:
    virtual ~Fabric() = default;

    // A queue pair that reached RTS and that no NIC knows.  Joins it with a waiting one of any adapter of the process, or
    // remembers it.  Status::Invalid: what the two were told does not fit, or another has the same connection.
    virtual Status connect(QueuePair& qp) = 0;
    // The queue pair needs its connection no more (stopped, destroyed, timed out).  Harmless when it has none.
    virtual void forget(QueuePair& qp) = 0;
    virtual size_t connections() const = 0;

    Entrance entrance;

    // Where payload is gathered on its way to the peer; valid until the next call.
    Bytes scratch() {
        scratch_.resize(kMaxSegmentPayload);
        return scratch_;
    }

private:
    std::vector<std::byte> scratch_;
};

} // namespace erdma
