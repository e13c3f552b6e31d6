// SPDX-License-Identifier: GPL-2.0-or-later
// Lines of the kernel's trace pipe as facts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "render.h"

namespace eadm {

// An event of the driver with its numbers, states and commands by name; nothing for other lines.
std::optional<Json> parseTraceLine(std::string_view line);
std::string traceText(const Json& event);

} // namespace eadm
