// SPDX-License-Identifier: GPL-2.0-or-later
// Choosing and sorting the rows of a list.
#pragma once

#include "commands.h"

namespace eadm {

// Leaves the rows that are wanted, sorted; returns how many were left out because of the limit.  `shape`: a row of the
// kind, which says what fields there are.  Throws Error for a field that the kind does not have.
uint64_t choose(Json& rows, const Json& shape, const ListOptions& list);

} // namespace eadm
