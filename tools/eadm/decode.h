// SPDX-License-Identifier: GPL-2.0-or-later
// Ring entries as facts (docs/spec/adapter.md 3, 5 and 7).  Every byte pattern decodes to something.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// The operations that wait or are under way in the send queue of a queue pair of which the adapter told its indices,
// oldest first, at most 64 blocks of them.  Needs the right to dump; throws Error.
std::vector<std::string> waitingOperations(const Driver& driver, uint32_t device, const erdma_info_qp& qp);

std::string_view commandName(uint32_t sub, uint32_t opcode);

} // namespace eadm
