// SPDX-License-Identifier: GPL-2.0-or-later
// eadm metrics: what counts, as Prometheus and its relatives read it.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "commands.h"
#include "doctor.h"

namespace eadm {

// OpenMetrics ends with "# EOF" and names counters without "_total"; the older text format is what node_exporter's
// textfile collector reads.
enum class MetricsFormat { OpenMetrics, Text };

using Labels = std::vector<std::pair<std::string, std::string>>;

// Families of samples in the order in which they were first named.
class Metrics {
public:
    // `name`: without "_total", which counters get.
    void counter(const std::string& name, const std::string& help, const Labels& labels, uint64_t value);
    void gauge(const std::string& name, const std::string& help, const Labels& labels, double value);
    std::string text(MetricsFormat format) const;

private:
    struct Family {
        std::string name, help;
        bool counts;
        std::string samples; // lines
    };
    Family& family(const std::string& name, const std::string& help, bool counts);
    std::vector<Family> families_;
    std::map<std::string, size_t> index_;
};

// Everything about the adapters that `options` names.  Without a driver there is little, and that is said by a metric.
Metrics collectMetrics(const Options& options, const MetricsOptions& what);
// One sample for each finding there is, 0 where there is no such thing.
void addFindings(Metrics& metrics, const std::vector<std::string>& devices, const std::vector<Finding>& findings);
// "127.0.0.1:9000", ":9000", "9000", "[::1]:9000" -> address (without it the loopback's) and port.  Throws Error.
std::pair<std::string, int> endpointOf(const std::string& text);

} // namespace eadm
