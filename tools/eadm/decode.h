// SPDX-License-Identifier: GPL-2.0-or-later
// Ring entries as facts (docs/spec/adapter.md 3, 5 and 7).  Every byte pattern decodes to something.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "driver.h"
#include "render.h"

namespace eadm {

struct RingShape {
    std::string_view word;
    erdma_ring ring;
    bool asynchronous = false; // of event queues: the one with asynchronous events
};

std::optional<RingShape> ringNamed(std::string_view word);

using Bytes = std::span<const uint8_t>;

// One work request; `bytes` begins at its first block and holds up to four of them.  "blocks" says how many it has.
Json decodeSqe(Bytes bytes);
Json decodeRqe(Bytes bytes);
Json decodeCqe(Bytes bytes);
Json decodeCommandCqe(Bytes bytes);
Json decodeCommand(Bytes bytes);
// Kind by the number of the event queue: 0 asynchronous, else completion or command.
Json decodeCeqe(Bytes bytes);
Json decodeAeqe(Bytes bytes);

// All entries of a part of a ring, with their slots; `hex` adds the bytes.  Blocks of one work request make one entry.
Json decodeRing(const RingShape& shape, const RingPart& part, bool hex);
// An entry of decodeRing() as text, with its line end.
std::string entryLine(const Json& entry);

std::string_view commandName(uint32_t sub, uint32_t opcode);

} // namespace eadm
