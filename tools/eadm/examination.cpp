// SPDX-License-Identifier: GPL-2.0-or-later
#include "examination.h"

#include <algorithm>

#include <fmt/format.h>

namespace eadm {

namespace {

constexpr uint64_t kMostAlike = 10; // findings about single queue pairs, of each kind

} // namespace

std::string_view severityName(Severity severity) {
    switch (severity) {
    case Severity::Fault:
        return "fault";
    case Severity::Warning:
        return "warning";
    case Severity::Unknown:
        return "unknown";
    default:
        return "note";
    }
}

const std::vector<std::string>& findingIds() {
    static const std::vector<std::string> ids = {"no-adapter",
                                                 "driver-not-loaded",
                                                 "not-bound",
                                                 "modules-missing",
                                                 "small-window",
                                                 "device-broken",
                                                 "limit-reached",
                                                 "not-paired",
                                                 "interface-down",
                                                 "no-address",
                                                 "address-elsewhere",
                                                 "mac-mismatch",
                                                 "mtu-mismatch",
                                                 "gid-missing",
                                                 "command-timeout",
                                                 "command-failed",
                                                 "lost-interrupts",
                                                 "strange-events",
                                                 "drops",
                                                 "rate-limited",
                                                 "registration-failed",
                                                 "interrupts-not-balanced",
                                                 "slow-setup",
                                                 "connection-refused",
                                                 "connection-timeout",
                                                 "connection-rejected",
                                                 "bad-requests",
                                                 "misrouted",
                                                 "translated-setup",
                                                 "crc-refused",
                                                 "crc-errors",
                                                 "not-in-dialect",
                                                 "standard-peer",
                                                 "qp-failed",
                                                 "retransmissions",
                                                 "read-depth",
                                                 "no-receive-buffers",
                                                 "stalled",
                                                 "held-up",
                                                 "long-path",
                                                 "receives-late",
                                                 "one-way",
                                                 "translated",
                                                 "other-rdma-device",
                                                 "tcp-instead",
                                                 "check-mode",
                                                 "check-error",
                                                 "check-warning",
                                                 "check-advice",
                                                 "not-examined"};
    return ids;
}

std::vector<Finding> Examination::run() {
    machine();
    for (const Adapter& adapter : snapshot_.adapters) {
        adapter_ = &adapter;
        missing_.clear();
        alike_.clear();
        unreadable_ = quietQps_ = quietRetransmits_ = 0;
        device();
        interface();
        commands();
        drops();
        events();
        connections();
        setUp();
        for (const WatchedQp& qp : adapter.qps)
            queuePair(qp);
        countedOnly();
        otherWays();
        checkMode();
        unseen();
    }
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
    return std::move(findings_);
}

void Examination::add(Severity severity, const char* id, std::string text, std::string advice, Json figures) {
    findings_.push_back({severity, id, adapter_ ? textOf(adapter_->device.name) : "", std::move(text),
                         std::move(advice), std::move(figures)});
}

void Examination::addQp(Severity severity, const char* id, std::string text, std::string advice, Json figures) {
    if (++alike_[{severity, id}] <= kMostAlike)
        add(severity, id, std::move(text), std::move(advice), std::move(figures));
}

void Examination::countedOnly() {
    for (const auto& [kind, count] : alike_)
        if (count > kMostAlike)
            add(kind.first, kind.second.c_str(),
                fmt::format("The same is true of {} more queue pairs.", count - kMostAlike),
                "'eadm info qp' lists them all.", {{"more_qps", count - kMostAlike}});
    if (quietQps_ != 0)
        add(Severity::Note, "retransmissions",
            fmt::format("{} queue pairs retransmitted {} times since they were connected.", quietQps_,
                        quietRetransmits_),
            "Packets were lost; run doctor again, for longer, to see whether it goes on.",
            {{"qps", quietQps_}, {"retransmits", quietRetransmits_}});
}

uint64_t Examination::counter(Counter counter) {
    if (!adapter_->second.knows(counter))
        missing_.insert(counter);
    return adapter_->second[counter];
}

uint64_t Examination::growth(Counter counter) {
    const uint64_t now = this->counter(counter);
    return now - std::min(now, adapter_->first[counter]);
}

// Comes last: it tells what the rules before it had no answer for.
void Examination::unseen() {
    const Unseen& unseen = adapter_->unseen;
    if (unseen.hiddenQps + unseen.hiddenCeps != 0) {
        std::string what;
        if (unseen.hiddenQps != 0)
            what = fmt::format("{} of {} queue pairs", unseen.hiddenQps, unseen.allQps);
        if (unseen.hiddenCeps != 0)
            what += fmt::format("{}{} of {} connection endpoints", what.empty() ? "" : " and ", unseen.hiddenCeps,
                                unseen.allCeps);
        add(Severity::Unknown, "not-examined", fmt::format("{} belong to others and were not examined.", what),
            "Run it as root.", {{"hidden_qps", unseen.hiddenQps}, {"hidden_ceps", unseen.hiddenCeps}});
    }
    if (unseen.hiddenFound != 0)
        add(Severity::Unknown, "not-examined",
            fmt::format("{} findings of check mode are about others, or about queues that are gone, and are not shown.",
                        unseen.hiddenFound),
            "Run it as root.", {{"hidden_check_findings", unseen.hiddenFound}});
    if (unreadable_ != 0)
        add(Severity::Unknown, "not-examined",
            fmt::format("What waits in the send queues of {} queue pairs was not examined.", unreadable_),
            "Run it as root.", {{"unreadable_qps", unreadable_}});
    if (unseen.silentQps != 0)
        add(Severity::Unknown, "not-examined",
            fmt::format("Of {} queue pairs the adapter tells nothing.", unseen.silentQps),
            "'eadm dev -d' shows whether it has the capability query_qc; 'dmesg' whether its commands fail.",
            {{"silent_qps", unseen.silentQps}});
    if (!missing_.empty()) {
        Json names = Json::array();
        for (const Counter counter : missing_)
            names.push_back(std::string(nameOf(counter)));
        add(Severity::Unknown, "not-examined",
            fmt::format("The loaded driver lacks {} counters that tell faults: {}.", names.size(), plain(names)),
            "Update the driver or eadm, so that they are of the same version.", {{"missing_counters", names}});
    }
    if (unseen.tcp)
        add(Severity::Unknown, "not-examined", "The kernel does not tell what TCP connections carry.",
            "Run 'modprobe tcp_diag'.", {{"sock_diag", false}});
    if (unseen.translations)
        add(Severity::Unknown, "not-examined",
            "The kernel does not tell whether it translates addresses of RDMA connections.",
            "Run it as root, with the module nf_conntrack_netlink.", {{"conntrack", false}});
}

std::vector<Finding> diagnose(const Snapshot& snapshot, const Thresholds& thresholds) {
    return Examination(snapshot, thresholds).run();
}

Severity worst(const std::vector<Finding>& findings) {
    Severity severity = Severity::Note;
    for (const Finding& finding : findings)
        severity = std::max(severity, finding.severity);
    return severity;
}

} // namespace eadm
