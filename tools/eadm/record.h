// SPDX-License-Identifier: GPL-2.0-or-later
// The file of eadm record: one JSON object a line, the first of which is the head; plot reads it.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "activity.h"

namespace eadm {

constexpr const char* kRecordFormat = "eadm-record";
constexpr int kRecordVersion = 1;
constexpr size_t kMostRecorded = 20; // connections in a line, the busiest

// A line: what went on between two looks, `at` seconds after the beginning.
Json recordLine(const Activity& before, const Activity& now, double at, const std::string& time);

struct Record {
    Json head;
    std::vector<Json> lines;
    bool cut = false; // the last line is not complete: the recording ended in the middle of it
};

// Reads a file of a user, which may hold anything.  Throws Error, naming it by `name`.
Record readRecord(std::istream& file, const std::string& name);

// The page.  All of it is in the one text: no script, no other file.
std::string pageOf(const Record& record, const std::string& title);

} // namespace eadm
