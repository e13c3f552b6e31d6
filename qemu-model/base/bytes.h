// SPDX-License-Identifier: GPL-2.0-or-later
// Octets of somebody else's memory.
#pragma once

#include <cstddef>
#include <span>

namespace erdma {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

} // namespace erdma
