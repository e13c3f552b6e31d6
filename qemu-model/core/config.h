// SPDX-License-Identifier: GPL-2.0-or-later
// The settings of an adapter (seam.h): what they are by default, and what they may be.
#pragma once

#include <optional>
#include <string>

#include "seam.h"

namespace erdma {

erdma_config defaultConfig();

// Nothing: fine.  Otherwise the sentence for the user.
std::optional<std::string> checkConfig(const erdma_config& config);

} // namespace erdma
