// SPDX-License-Identifier: GPL-2.0-or-later
// The settings of an adapter (seam.h): what they are by default is erdma_config_defaults(), what they may be stands here.
#pragma once

#include <optional>
#include <string>

#include "seam.h"

namespace erdma {

// Nothing: fine.  Otherwise the sentence for the user.
std::optional<std::string> checkConfig(const erdma_config& config);

} // namespace erdma
