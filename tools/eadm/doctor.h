// SPDX-License-Identifier: GPL-2.0-or-later
// eadm doctor: two looks at the machine, and what they say together.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "counters.h"
#include "driver.h"
#include "network.h"
#include "render.h"
#include "thresholds.h"

namespace eadm {

// ---- what is looked at ----

struct CompletionVector {
    erdma_info_eq first{}, second{}; // at the two looks
    std::string cpus;                // where its interrupt may go now, as /proc/irq says; empty: unknown
};

// One connected queue pair at both looks, with what the adapter knows.
struct WatchedQp {
    erdma_info_qp first{}, second{};
    double seconds = 0; // between the looks at it
    // Operations between the consumer and the producer index of the send queue; nothing: they may not be read.
    std::optional<std::vector<std::string>> waiting;
    uint32_t pathMtu = 0;    // towards the peer; 0: unknown
    std::string translation; // of its connection by the kernel (NAT), or empty
    bool gidGone = false;    // RoCEv2: the GID table has its own address no more
};

struct OtherRdma {
    std::string name;  // another RDMA device on the same interface
    uint64_t sent = 0; // packets between the two looks
    std::string netdev;
};

// What exists and could not be looked at.
struct Unseen {
    uint64_t hiddenQps = 0, allQps = 0; // of other users; together with one's own
    uint64_t hiddenCeps = 0, allCeps = 0;
    uint64_t hiddenFound = 0; // of check mode, about others or about nobody who is there
    uint64_t silentQps = 0;   // connected ones of which the adapter told nothing
    bool tcp = false;         // the kernel tells no TCP connections
    bool translations = false;
};

struct Adapter {
    erdma_info_device device{};
    double seconds = 0; // between the two looks at the counters
    Counters first, second;
    Interface interface;
    std::vector<std::string> withoutGid; // RoCEv2: addresses of the interface that are not in the GID table
    std::vector<TcpFlow> tcp;            // connections on the interface's addresses that carried something in between
    std::vector<CompletionVector> vectors;
    std::vector<WatchedQp> qps;
    std::vector<erdma_info_qp> failed; // queue pairs that the adapter stopped
    std::vector<erdma_info_cep> ceps;
    std::vector<OtherRdma> others;
    std::vector<erdma_info_finding> found; // by check mode; empty: the adapter or the driver has none
    Unseen unseen;
};

struct Snapshot {
    std::vector<std::string> functions; // PCI addresses of adapters
    std::vector<std::string> unbound;   // those without a driver
    std::vector<std::string> invisible; // those that the driver runs and does not show to this process
    bool driver = false;
    std::string driverTrouble; // why the driver could not be asked
    bool driverMissing = true; // that trouble is that it is not loaded
    std::vector<std::string> missingNodes;
    bool windowScaling = true;
    uint64_t receiveWindow = 0; // largest that TCP may offer, bytes; 0: unknown
    uint64_t lockedMemory = 0;  // limit of this process
    std::vector<Adapter> adapters;
};

// ---- what it means ----

enum class Severity { Note, Unknown, Warning, Fault };

std::string_view severityName(Severity severity);

struct Finding {
    Severity severity;
    std::string id;     // stable
    std::string device; // empty: the machine
    std::string text;   // what is wrong
    std::string advice; // what to do
    Json figures = Json::object();
};

// The ids of all findings there are.
const std::vector<std::string>& findingIds();
// Pure: the same snapshot gives the same findings, worst first.
std::vector<Finding> diagnose(const Snapshot& snapshot, const Thresholds& thresholds = {});
Json toJson(const Finding& finding);

// Of a list of findings: the worst severity; Note without any.
Severity worst(const std::vector<Finding>& findings);

// Looks twice, `seconds` apart.  `device`: only this one; empty: all.
Snapshot lookAround(const std::string& device, double seconds);
// The same, or what was seen when the snapshot of `options` was taken.
struct Options;
Snapshot lookAt(const Options& options, double seconds);

} // namespace eadm
