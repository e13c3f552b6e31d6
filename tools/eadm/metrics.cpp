// SPDX-License-Identifier: GPL-2.0-or-later
#include "metrics.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "objects.h"

namespace eadm {

namespace {

// In labels and help texts.
std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == '"')
            out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

std::string sample(const std::string& name, const Labels& labels, const std::string& value) {
    std::string text;
    for (const auto& [key, content] : labels)
        text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", key, escaped(content));
    return fmt::format("{}{}{}{} {}\n", name, text.empty() ? "" : "{", text, text.empty() ? "" : "}", value);
}

void addDevice(Metrics& metrics, const erdma_info_device& device) {
    const Json facts = toJson(device);
    const Labels name = {{"device", plain(facts["device"])}};
    metrics.gauge("erdma_adapter_info", "an adapter and its names",
                  {{"device", plain(facts["device"])},
                   {"pci", plain(facts["pci"])},
                   {"netdev", plain(facts["netdev"])},
                   {"firmware", plain(facts["firmware"])}},
                  1);
    metrics.gauge("erdma_adapter_up", "whether connections can be made", name, facts["state"] == "up");
    metrics.gauge("erdma_adapter_broken", "whether the adapter is out of use", name, facts["state"] == "broken");
    for (const auto& [kind, count] : facts["objects"].items())
        metrics.gauge("erdma_objects", "objects that exist, of all users",
                      {{"device", plain(facts["device"])}, {"kind", kind}}, count.get<double>());
    for (const auto& [kind, limit] : facts["limits"].items())
        if (facts["objects"].contains(kind))
            metrics.gauge("erdma_objects_limit", "objects there may be",
                          {{"device", plain(facts["device"])}, {"kind", kind}}, limit.get<double>());
}

void addCounters(Metrics& metrics, const Driver& driver, const erdma_info_device& device) {
    for (const auto& counter : driver.list<erdma_info_counter>(ERDMA_KIND_COUNTER, device.device).entries) {
        std::string name = textOf(counter.name);
        if (name.ends_with("_cnt"))
            name.resize(name.size() - 4);
        metrics.counter("erdma_" + name, textOf(counter.help), {{"device", textOf(device.name)}}, counter.value);
    }
}

void addEventQueues(Metrics& metrics, const Driver& driver, const erdma_info_device& device) {
    for (const auto& queue : driver.list<erdma_info_eq>(ERDMA_KIND_EQ, device.device).entries) {
        const Labels labels = {{"device", textOf(device.name)},
                               {"eq", fmt::format("{}", queue.number)},
                               {"vector", fmt::format("{}", queue.vector)},
                               {"irq", fmt::format("{}", queue.irq)}};
        metrics.counter("erdma_eq_events", "events of an event queue", labels, queue.events);
        metrics.counter("erdma_eq_bad_events", "events that named nothing that exists", labels, queue.bad_events);
    }
}

// How many objects are in which state; every state of `names` is named, so that none vanishes.
template <typename Entry>
void addStates(Metrics& metrics, const std::string& name, const std::string& help, const erdma_info_device& device,
               const Page<Entry>& page, std::string (*nameOfState)(uint32_t), std::vector<uint32_t> states) {
    std::map<std::string, uint64_t> counts;
    for (const uint32_t state : states)
        counts[nameOfState(state)] = 0;
    for (const Entry& entry : page.entries)
        ++counts[nameOfState(entry.state)];
    for (const auto& [state, count] : counts)
        metrics.gauge(name, help, {{"device", textOf(device.name)}, {"state", state}}, static_cast<double>(count));
}

void addQueuePair(Metrics& metrics, const erdma_info_device& device, const erdma_info_qp& qp, bool owners) {
    const Json facts = toJson(qp);
    Labels labels = {{"device", textOf(device.name)},
                     {"qp", fmt::format("{}", qp.number)},
                     {"local", plain(facts["local"])},
                     {"remote", plain(facts["remote"])}};
    if (owners) {
        labels.emplace_back("pid", fmt::format("{}", qp.owner.pid));
        labels.emplace_back("uid", fmt::format("{}", qp.owner.uid));
        labels.emplace_back("comm", textOf(qp.owner.name));
    }
    metrics.counter("erdma_qp_retransmits", "time-outs of a queue pair's retransmission timer", labels,
                    qp.hw.retransmits);
    metrics.gauge("erdma_qp_outstanding_blocks", "blocks of 32 bytes that wait in a send queue", labels,
                  static_cast<uint16_t>(qp.hw.sq_pi - qp.hw.sq_ci));
    metrics.gauge("erdma_qp_receive_buffers", "buffers that a receive queue has", labels,
                  static_cast<uint16_t>(qp.hw.rq_pi - qp.hw.rq_ci));
    metrics.gauge("erdma_qp_age_seconds", "time since a queue pair was made", labels,
                  static_cast<double>(qp.age_ms) / 1000);
    if ((qp.known & ERDMA_KNOWN_FLOW) == 0)
        return;
    metrics.counter("erdma_qp_repeats", "segments or packets of a queue pair that were sent again", labels,
                    qp.flow.repeats);
    metrics.counter("erdma_qp_starved_nanoseconds", "time that messages waited for a receive buffer of a queue pair",
                    labels, qp.flow.starved_ns);
    for (uint32_t limit = 0; limit < ERDMA_LIMIT_COUNT; ++limit) {
        Labels what = labels;
        what.emplace_back("what", limitName(limit));
        metrics.counter("erdma_qp_spent_nanoseconds", "time of a queue pair's sends, by what held them", what,
                        qp.flow.spent_ns[limit]);
    }
}

void addObjects(Metrics& metrics, const Driver& driver, const erdma_info_device& device, const MetricsOptions& what) {
    const auto qps = driver.list<erdma_info_qp>(ERDMA_KIND_QP, device.device);
    const auto ceps = driver.list<erdma_info_cep>(ERDMA_KIND_CEP, device.device);
    addStates(metrics, "erdma_queue_pairs", "queue pairs that this process sees, by state", device, qps, qpState,
              {0, 1, 2, 3, 4, 5});
    addStates(metrics, "erdma_connections", "connection endpoints that this process sees, by state", device, ceps,
              cepState, {0, 1, 2, 3, 4, 5, 6, ERDMA_CEP_STATE_LISTEN});
    for (const auto& [kind, hidden] : {std::pair{"qp", qps.hidden}, std::pair{"cep", ceps.hidden}})
        metrics.gauge("erdma_objects_hidden", "objects of others that this process does not see",
                      {{"device", textOf(device.name)}, {"kind", kind}}, static_cast<double>(hidden));
    if (!what.qps)
        return;
    for (const auto& qp : qps.entries) {
        if ((qp.known & ERDMA_KNOWN_ADDRESSES) == 0)
            continue;
        const auto asked = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device.device, qp.number);
        if (asked && (asked->known & ERDMA_KNOWN_HARDWARE) != 0)
            addQueuePair(metrics, device, *asked, what.owners);
    }
}

} // namespace

Metrics::Family& Metrics::family(const std::string& name, const std::string& help, bool counts) {
    const auto [at, fresh] = index_.try_emplace(name, families_.size());
    if (fresh)
        families_.push_back({name, help, counts, {}});
    return families_[at->second];
}

void Metrics::counter(const std::string& name, const std::string& help, const Labels& labels, uint64_t value) {
    family(name, help, true).samples += sample(name + "_total", labels, fmt::format("{}", value));
}

void Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    family(name, help, false).samples += sample(name, labels, fmt::format("{}", value));
}

std::string Metrics::text(MetricsFormat format) const {
    std::string text;
    for (const Family& family : families_) {
        const bool total = family.counts && format == MetricsFormat::Text;
        const std::string name = family.name + (total ? "_total" : "");
        text += fmt::format("# HELP {} {}\n# TYPE {} {}\n{}", name, escaped(family.help), name,
                            family.counts ? "counter" : "gauge", family.samples);
    }
    return text + (format == MetricsFormat::OpenMetrics ? "# EOF\n" : "");
}

void addFindings(Metrics& metrics, const std::vector<std::string>& devices, const std::vector<Finding>& findings) {
    const std::string help = "findings of eadm doctor; 0: there is none";
    std::vector<std::string> all = {""}; // the machine
    all.insert(all.end(), devices.begin(), devices.end());
    for (const std::string& device : all)
        for (const std::string& id : findingIds())
            for (const Severity severity : {Severity::Fault, Severity::Warning, Severity::Unknown}) {
                const auto count = std::ranges::count_if(findings, [&](const Finding& one) {
                    return one.device == device && one.id == id && one.severity == severity;
                });
                // Most there are not in most severities: one zero for each finding says enough.
                if (count != 0 || severity == Severity::Fault)
                    metrics.gauge("erdma_findings", help,
                                  {{"device", device}, {"id", id}, {"severity", std::string(severityName(severity))}},
                                  static_cast<double>(count));
            }
    const Severity severity = worst(findings);
    metrics.gauge("erdma_healthy", "whether doctor looked at everything and found nothing", {},
                  severity == Severity::Note);
    metrics.gauge("erdma_verdict", "as monitoring plugins say it: 0 OK, 1 warning, 2 critical, 3 unknown", {},
                  severity == Severity::Fault     ? 2
                  : severity == Severity::Warning ? 1
                  : severity == Severity::Unknown ? 3
                                                  : 0);
}

Metrics collectMetrics(const Options& options, const MetricsOptions& what) {
    Metrics metrics;
    std::optional<Driver> driver;
    std::string version;
    try {
        driver.emplace(options.from);
        version = textOf(driver->version().driver);
    } catch (const Error& error) {
        if (error.exit() != Exit::NoDriver)
            throw;
    }
    metrics.gauge("erdma_versions_info", "versions of driver and eadm", {{"driver", version}, {"eadm", EADM_VERSION}},
                  1);
    metrics.gauge("erdma_driver_loaded", "whether the driver is loaded", {}, driver.has_value());
    std::vector<std::string> names;
    if (driver) {
        auto devices = devicesOf(*driver);
        if (!options.device.empty())
            devices = {chooseDevice(*driver, options.device)};
        for (const auto& device : devices) {
            names.push_back(textOf(device.name));
            addDevice(metrics, device);
            addCounters(metrics, *driver, device);
            addEventQueues(metrics, *driver, device);
            addObjects(metrics, *driver, device, what);
        }
    }
    if (what.findings) {
        const Thresholds thresholds = readThresholds(what.doctor.config);
        const double seconds = what.doctor.seconds.value_or(thresholds.seconds);
        addFindings(metrics, names, diagnose(lookAt(options, seconds), thresholds));
    }
    return metrics;
}

std::pair<std::string, int> endpointOf(const std::string& text) {
    const size_t colon = text.rfind(':');
    std::string address = colon == std::string::npos ? "" : text.substr(0, colon);
    const uint64_t port = wholeNumberOf(colon == std::string::npos ? text : text.substr(colon + 1), "a port");
    if (port > 65535)
        throw Error(Exit::Usage, fmt::format("{} is no port", port));
    if (address.starts_with('[') && address.ends_with(']'))
        address = address.substr(1, address.size() - 2);
    else if (address.find(':') != std::string::npos)
        throw Error(Exit::Usage, fmt::format("write IPv6 addresses as [ADDRESS]:PORT, not '{}'", text));
    return {address.empty() ? "127.0.0.1" : address, static_cast<int>(port)};
}

} // namespace eadm
