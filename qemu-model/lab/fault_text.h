// SPDX-License-Identifier: GPL-2.0-or-later
// The property "faults" as a text (grammar: ../qemu/capi.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "device.h"
#include "fault.h"

namespace erdma {

// Each returns nothing, or the sentence for the user, and then nothing changed.
std::optional<std::string> parseFaults(std::string_view text, FaultPlan& plan);
std::optional<std::string> setFaults(Device& device, std::string_view text);

// What is still in force, in the same grammar; used-up rules and injections are gone.
std::string describeFaults(const FaultPlan& plan);

} // namespace erdma
