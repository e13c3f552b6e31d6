// SPDX-License-Identifier: GPL-2.0-or-later
// eadm doctor: two looks at the machine, and what they say together.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "driver.h"
#include "rates.h"
#include "render.h"

namespace eadm {

// ---- what is looked at ----

struct Interface {
    bool exists = false;
    bool up = false;
    bool carrier = false;
    uint32_t mtu = 0;
    uint32_t addresses = 0;      // IPv4
    uint64_t bytesPerSecond = 0; // sent and received, between the two looks
};

struct CompletionVector {
    erdma_info_eq first{}, second{}; // at the two looks
    std::string cpus;                // where its interrupt may go now, as /proc/irq says; empty: unknown
};

// One queue pair at both looks, with what the adapter knows.
struct WatchedQp {
    erdma_info_qp first{}, second{};
    // Operations between the consumer and the producer index of the send queue; only with the right to dump.
    std::vector<std::string> waiting;
    uint32_t pathMtu = 0; // towards the peer; 0: unknown
};

struct OtherRdma {
    std::string name;  // another RDMA device on the same interface
    uint64_t sent = 0; // packets between the two looks
    std::string netdev;
};

struct Adapter {
    erdma_info_device device{};
    Sample first, second; // of counters
    Interface interface;
    uint64_t loopbackBytesPerSecond = 0; // traffic to own addresses goes through lo
    uint32_t tcpConnections = 0;         // established on the interface's addresses, without RDMA's own
    std::vector<CompletionVector> vectors;
    std::vector<WatchedQp> qps;
    std::vector<erdma_info_cep> ceps;
    std::vector<OtherRdma> others;
};

struct Snapshot {
    std::vector<std::string> functions; // PCI addresses of adapters
    std::vector<std::string> unbound;   // those without a driver
    bool driver = false;
    std::string driverTrouble; // why the driver could not be asked
    std::vector<std::string> missingNodes;
    bool windowScaling = true;
    uint64_t receiveWindow = 0; // largest that TCP may offer, bytes; 0: unknown
    uint64_t lockedMemory = 0;  // limit of this process
    std::vector<Adapter> adapters;
};

// ---- what it means ----

enum class Severity { Note, Warning, Fault };

struct Finding {
    Severity severity;
    std::string id;     // stable
    std::string device; // empty: the machine
    std::string text;   // what is wrong
    std::string advice; // what to do
    Json figures = Json::object();
};

// Pure: the same snapshot gives the same findings, worst first.
std::vector<Finding> diagnose(const Snapshot& snapshot);
Json toJson(const Finding& finding);

// Looks twice, `seconds` apart.  `device`: only this one; empty: all.
Snapshot lookAround(const std::string& device, double seconds);

} // namespace eadm
