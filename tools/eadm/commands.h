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
    std::string from;   // the file of a snapshot; empty: this machine, now
    bool json = false;
    bool colour = false;
    bool line = false;     // one object a line, with its time: there come more of them
    bool terminal = false; // the output is one
};

struct StatOptions {
    bool live = false;
    double seconds = 1;
    uint64_t rounds = 0; // 0: until interrupted
    bool explain = false;
};

// Which objects of a list are shown, and in which order.
struct ListOptions {
    std::optional<uint64_t> pid;
    std::string comm;        // of the owner; a shell pattern
    std::string local, peer; // ADDRESS, :PORT or ADDRESS:PORT
    std::string state;
    std::string sort; // name of a field, "-" before it turns the order around
    std::optional<uint64_t> limit;
};

struct TopOptions {
    std::string by = "connection"; // or "process", "adapter"
    ListOptions list;
    double seconds = 1;  // between two looks
    uint64_t rounds = 0; // 0: until interrupted
};

struct RecordOptions {
    std::string file;
    double seconds = 60; // in all
    double every = 1;
};

struct PlotOptions {
    std::string file;
    std::string output; // a file; empty: the terminal
};

struct DoctorOptions {
    std::optional<double> seconds; // nothing: as the file of thresholds says
    std::string config;            // that file; empty: the installation's
};

struct DumpOptions {
    std::string ring;
    std::optional<uint32_t> number;
    std::string range; // "INDEX" or "INDEX-INDEX"; empty: all slots
    bool hex = false;
};

struct MetricsOptions {
    bool qps = false;      // each connected queue pair
    bool owners = false;   // and whose it is
    bool findings = false; // what doctor finds
    DoctorOptions doctor;
    std::string output; // a file; empty: the terminal
    std::string listen; // ADDRESS:PORT to answer at; empty: not
};

struct SnapshotOptions {
    std::string file;
    bool mask = false; // put other addresses in the place of all
    DoctorOptions doctor;
};

Exit showVersion(const Options& options);
Exit showDevices(const Options& options);
Exit showInfo(const Options& options, const std::string& kind, std::optional<uint64_t> number, const ListOptions& list);
Exit showStatistics(const Options& options, const StatOptions& stat);
Exit showTop(const Options& options, const TopOptions& top);
Exit recordActivity(const Options& options, const RecordOptions& what);
Exit plotActivity(const PlotOptions& what);
Exit dumpRing(const Options& options, const DumpOptions& dump);
Exit configure(const Options& options, const std::string& name, const std::string& value);
Exit followTrace(const Options& options, double seconds);
Exit takeSnapshot(const Options& options, const SnapshotOptions& what);
Exit compareSnapshots(const Options& options, const std::string& before, const std::string& now);
Exit showMetrics(const Options& options, const MetricsOptions& what);
Exit examine(const Options& options, const DoctorOptions& doctor);
// One line for monitoring systems; the exit code is that of their plugins: 0 OK, 1 warning, 2 critical, 3 unknown.
int check(const Options& options, const DoctorOptions& doctor);

// ---- shared ----

std::vector<erdma_info_device> devicesOf(const Driver& driver);
// The device that -d names, or the only one.  Throws Error.
erdma_info_device chooseDevice(const Driver& driver, const std::string& wanted);
// Does the name mean this device?
bool isDevice(const erdma_info_device& device, const std::string& wanted);
// The time now, as RFC 3339 wants it.
std::string timeText();
void print(const std::string& text);
// With the version of the schema, and if there come more, the time.
void printJson(const Options& options, Json json);
// Sleeps, unless stopped() becomes true.
void sleepFor(double seconds);
// A whole or broken number, not negative; throws Error that calls it by `what`.
double numberOf(const std::string& text, std::string_view what);
uint64_t wholeNumberOf(const std::string& text, std::string_view what);
// The word of `known` that looks most like `word`, or an empty string.
std::string nearest(const std::string& word, const std::vector<std::string>& known);
// From here on SIGINT and SIGTERM end what is under way instead of the program, see stopped().
void stopOnSignals();
bool stopped();
// "eth0" or "3": a line of a file; empty when it cannot be read.
std::string firstLine(const std::string& path);

} // namespace eadm
