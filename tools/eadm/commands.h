// SPDX-License-Identifier: GPL-2.0-or-later
// What each word of the command line does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "driver.h"
#include "render.h"

namespace eadm {

struct Options {
    std::string device; // RDMA device or PCI address; empty: the only one
    bool json = false;
    bool colour = false;
};

struct StatOptions {
    bool live = false;
    double seconds = 1;
    uint64_t rounds = 0; // 0: until interrupted
    bool explain = false;
};

struct DumpOptions {
    std::string ring;
    std::optional<uint32_t> number;
    std::string range; // "INDEX" or "INDEX-INDEX"; empty: all slots
    bool hex = false;
};

Exit showVersion(const Options& options);
Exit showDevices(const Options& options);
Exit showInfo(const Options& options, const std::string& kind, std::optional<uint64_t> number);
Exit showStatistics(const Options& options, const StatOptions& stat);
Exit dumpRing(const Options& options, const DumpOptions& dump);
Exit configure(const Options& options, const std::string& name, const std::string& value);
Exit followTrace(const Options& options, double seconds);
Exit examine(const Options& options);

// ---- shared ----

std::vector<erdma_info_device> devicesOf(const Driver& driver);
// The device that -d names, or the only one.  Throws Error.
erdma_info_device chooseDevice(const Driver& driver, const std::string& wanted);
// Does the name mean this device?
bool isDevice(const erdma_info_device& device, const std::string& wanted);
void print(const std::string& text);
void printJson(const Json& json);
// The word of `known` that looks most like `word`, or an empty string.
std::string nearest(const std::string& word, const std::vector<std::string>& known);
// From here on SIGINT and SIGTERM end what is under way instead of the program, see stopped().
void stopOnSignals();
bool stopped();
// "eth0" or "3": a line of a file; empty when it cannot be read.
std::string firstLine(const std::string& path);

} // namespace eadm
