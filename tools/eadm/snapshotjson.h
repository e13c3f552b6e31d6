// SPDX-License-Identifier: GPL-2.0-or-later
// What doctor looked at, as JSON and back: the same snapshot gives the same findings elsewhere and later.
#pragma once

#include "doctor.h"

namespace eadm {

Json snapshotJson(const Snapshot& snapshot);
// Throws what the JSON library throws, or std::invalid_argument.
Snapshot snapshotFrom(const Json& json);

} // namespace eadm
