// SPDX-License-Identifier: GPL-2.0-or-later
// Events of the kernel's tracing as facts.
#pragma once

#include <string>

#include "render.h"

struct tep_event;
struct tep_record;

namespace eadm {

// The fields of an event of the driver, with its states and commands by name; "device" is the adapter's number.  The
// time is left to the caller.
Json traceJson(tep_event& event, tep_record& record);
// One line; the time and the device are texts by now.
std::string traceText(const Json& event);

} // namespace eadm
