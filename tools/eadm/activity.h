// SPDX-License-Identifier: GPL-2.0-or-later
// What connections, programs and adapters do between two looks: the rows of top, of record and of plot.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "driver.h"
#include "rates.h"
#include "render.h"

namespace eadm {

// An adapter at one moment.
struct DeviceLook {
    erdma_info_device device{};
    // Of its queue pairs, those that the adapter was asked about have their `hw` part.
    Sample sample;
    // By queue pair: reads and atomics in its send queue that are not complete; only with the right to dump.
    std::map<uint32_t, uint32_t> reads;
};

using Activity = std::vector<DeviceLook>;

enum class Group { Connection, Process, Adapter };

// "connection", "process", "adapter"; throws Error for other words.
Group groupNamed(const std::string& word);
std::string_view nameOf(Group group);

// Looks at the adapters, or at the one that is named.  Each question about a queue pair is a command to its adapter, so
// at most 256 of each are asked about: those that moved most since `before`.  Throws Error.
Activity lookAtActivity(const Driver& driver, const std::string& device, const Activity& before, bool mayDump);

// One row for each of the group, with rates per second; what is not known is null.
Json activityRows(const Activity& before, const Activity& now, Group group);
// A row of the group with nothing in it: it says what fields there are.
Json emptyRow(Group group);
// How the rows are shown as a table, and by which field they are sorted unless told otherwise.
const std::vector<Column>& columnsOf(Group group);
std::string_view usualOrder(Group group);

} // namespace eadm
