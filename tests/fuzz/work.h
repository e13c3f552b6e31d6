// SPDX-License-Identifier: GPL-2.0-or-later
// Work requests that are nearly right.
#pragma once

#include <vector>

#include "fuzz.h"
#include "sqe.h"

namespace erdma::fuzz {

// What a hostile poster knows: regions of its own and of its peer.
struct Region {
    uint32_t stag;
    uint64_t start;
    uint32_t octets;
};

struct Poster {
    std::vector<Region> own, remote;
};

// Whole blocks, header without number, count and index.  Never empty.
std::vector<std::byte> makeSqe(Input& in, const Poster& poster);
Sge makeSge(Input& in, const std::vector<Region>& regions);

} // namespace erdma::fuzz
