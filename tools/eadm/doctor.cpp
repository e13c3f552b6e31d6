// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor.h"

#include <algorithm>

#include <fmt/format.h>

#include "commands.h"
#include "objects.h"

namespace eadm {

namespace {

constexpr uint64_t kMuchTraffic = 1'000'000;  // bytes a second that somebody should notice
constexpr uint64_t kSmallWindow = 256 * 1024; // limits a 10 Gbit/s path of 0.2 ms
constexpr uint64_t kManyEvents = 1000;        // enough to say where they go
constexpr uint64_t kSlowSetup = 5000;         // ms; a connection that takes longer waits for something
constexpr uint64_t kSmallLockLimit = 64 * 1024 * 1024;

class Examination {
public:
    explicit Examination(const Snapshot& snapshot) : snapshot_(snapshot) {}

    std::vector<Finding> run() {
        machine();
        for (const Adapter& adapter : snapshot_.adapters) {
            adapter_ = &adapter;
            device();
            interface();
            commands();
            events();
            connections();
            for (const WatchedQp& qp : adapter.qps)
                queuePair(qp);
            otherWays();
        }
        std::stable_sort(findings_.begin(), findings_.end(),
                         [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
        return std::move(findings_);
    }

private:
    void add(Severity severity, const char* id, std::string text, std::string advice, Json figures = Json::object()) {
        findings_.push_back({severity, id, adapter_ ? textOf(adapter_->device.name) : "", std::move(text),
                             std::move(advice), std::move(figures)});
    }

    uint64_t counter(const char* name) const {
        const auto at = adapter_->second.counters.find(name);
        return at == adapter_->second.counters.end() ? 0 : at->second;
    }

    uint64_t growth(const char* name) const {
        const auto at = adapter_->first.counters.find(name);
        const uint64_t before = at == adapter_->first.counters.end() ? 0 : at->second;
        return counter(name) > before ? counter(name) - before : 0;
    }

    void machine() {
        if (snapshot_.functions.empty() && snapshot_.adapters.empty()) {
            add(Severity::Fault, "no-adapter", "This machine has no Elastic RDMA Adapter.",
                "Attach one to the instance: an elastic network interface with the RDMA option.");
            return;
        }
        if (!snapshot_.driver) {
            add(Severity::Fault, "driver-not-loaded",
                snapshot_.driverTrouble.empty() ? "The driver is not loaded." : snapshot_.driverTrouble + ".",
                "Run 'modprobe erdma'; if it is not installed, install the package erdma-dkms.",
                {{"adapters", snapshot_.functions}});
            return;
        }
        for (const std::string& function : snapshot_.unbound)
            add(Severity::Fault, "not-bound",
                fmt::format("The driver does not run the adapter at {}: it waits for the network interface with the "
                            "adapter's MAC address, or starting it failed.",
                            function),
                fmt::format("'dmesg | grep {}' names the reason; load the driver of the network interface.", function),
                {{"pci", function}});
        if (!snapshot_.missingNodes.empty()) {
            std::string nodes;
            for (const std::string& node : snapshot_.missingNodes)
                nodes += (nodes.empty() ? "" : ", ") + node;
            add(Severity::Fault, "modules-missing", fmt::format("Programs cannot use RDMA: {} is not there.", nodes),
                "Run 'modprobe -a ib_uverbs rdma_ucm' and see that they are loaded at boot (package rdma-core).",
                {{"missing", snapshot_.missingNodes}});
        }
        const bool small = snapshot_.receiveWindow != 0 && snapshot_.receiveWindow < kSmallWindow;
        if (!snapshot_.windowScaling || small)
            add(Severity::Warning, "small-window",
                fmt::format("New connections are limited by their window: TCP, which sets them up, offers {} at most.",
                            snapshot_.windowScaling ? fmt::format("{} bytes", snapshot_.receiveWindow)
                                                    : std::string("65535 bytes because window scaling is off")),
                "Set net.ipv4.tcp_window_scaling=1 and raise the last value of net.ipv4.tcp_rmem, on both ends.",
                {{"tcp_window_scaling", snapshot_.windowScaling}, {"tcp_rmem_most", snapshot_.receiveWindow}});
    }

    void device() {
        const auto& device = adapter_->device;
        if ((device.flags & ERDMA_DEVICE_BROKEN) != 0)
            add(Severity::Fault, "device-broken",
                "The adapter is out of use: it did not answer a command or was removed.",
                fmt::format("'dmesg | grep {}' says what happened; unload and load the driver.", textOf(device.pci)),
                {{"command_timeouts", counter("cmdq_timeout_cnt")}});
        const auto nearly = [&](const char* what, uint32_t used, uint32_t limit) {
            if (limit != 0 && used > limit / 10 * 9)
                add(Severity::Warning, "limit-reached", fmt::format("{} of {} {} are in use.", used, limit, what),
                    "Look with 'eadm info' for the program that uses them.", {{"used", used}, {"limit", limit}});
        };
        nearly("queue pairs", device.qps, device.max_qp);
        nearly("completion queues", device.cqs, device.max_cq);
        nearly("memory regions", device.mrs, device.max_mr);
    }

    void interface() {
        const Interface& nic = adapter_->interface;
        const std::string name = textOf(adapter_->device.netdev);
        if (name.empty()) {
            add(Severity::Fault, "not-paired",
                "The adapter has no network interface: the one with its MAC address is not there.",
                "Load the driver of the interface, or move it back to the initial network namespace.");
            return;
        }
        if (!nic.up || !nic.carrier)
            add(Severity::Fault, "interface-down",
                fmt::format("The interface {} is down{}: no connection can be made.", name,
                            nic.up ? " (no carrier)" : ""),
                fmt::format("Run 'ip link set {} up'.", name), {{"up", nic.up}, {"carrier", nic.carrier}});
        else if (nic.addresses == 0)
            add(Severity::Fault, "no-address", fmt::format("The interface {} has no IPv4 address.", name),
                fmt::format("Give it one: 'dhclient {}' or 'ip addr add'.", name));
        if (nic.mtu != 0 && adapter_->device.mtu != 0 && nic.mtu != adapter_->device.mtu)
            add(Severity::Warning, "mtu-mismatch",
                fmt::format("The adapter works with an MTU of {}, its interface {} with {}.", adapter_->device.mtu,
                            name, nic.mtu),
                "Unload and load the driver.", {{"adapter", adapter_->device.mtu}, {"interface", nic.mtu}});
    }

    void commands() {
        if (counter("cmdq_timeout_cnt") != 0)
            add(Severity::Fault, "command-timeout",
                fmt::format("{} commands got no answer from the adapter.", counter("cmdq_timeout_cnt")),
                "Unload and load the driver; if it happens again, the instance should be moved to another host.",
                {{"timeouts", counter("cmdq_timeout_cnt")}});
        if (counter("cmdq_failed_cnt") != 0)
            add(growth("cmdq_failed_cnt") != 0 ? Severity::Fault : Severity::Warning, "command-failed",
                fmt::format("The adapter refused {} of {} commands.", counter("cmdq_failed_cnt"),
                            counter("cmdq_submitted_cnt")),
                "'eadm conf dprint_mask 1' logs each failure; 'eadm dump cmdcq' shows their status.",
                {{"failed", counter("cmdq_failed_cnt")},
                 {"submitted", counter("cmdq_submitted_cnt")},
                 {"failed_now", growth("cmdq_failed_cnt")}});
        const uint64_t answers = counter("cmdq_rescued_cnt"), events = counter("eq_rescued_cnt");
        if (answers + events != 0)
            add(Severity::Warning, "lost-interrupts",
                fmt::format("{} answers of the adapter and {} times its events came without their interrupt.", answers,
                            events),
                "Look at /proc/interrupts for erdma; a stopped irqbalance or a busy CPU may hold interrupts back.",
                {{"rescued", answers}, {"rescued_events", events}});
        const uint64_t nonsense =
            counter("cmdq_bad_cnt") + counter("aeq_bad_events_cnt") + counter("ceq_bad_events_cnt");
        if (nonsense > 10)
            add(Severity::Warning, "strange-events",
                fmt::format("The adapter sent {} answers or events that name nothing that exists.", nonsense),
                "A few are normal when objects are destroyed; report many, with 'eadm ver'.", {{"events", nonsense}});
        uint64_t drops = 0;
        uint64_t limited = 0;
        for (const char* side : {"tx", "rx"}) {
            drops += growth(fmt::format("{}_disable_drop_cnt", side).c_str());
            limited += growth(fmt::format("{}_bps_limit_drop_cnt", side).c_str()) +
                       growth(fmt::format("{}_pps_limit_drop_cnt", side).c_str());
        }
        if (drops != 0)
            add(Severity::Fault, "drops",
                fmt::format("The adapter drops packets because it is disabled: {} just now.", drops),
                "See whether the interface is up and the instance has the RDMA option.", {{"drops_now", drops}});
        if (limited != 0)
            add(Severity::Warning, "rate-limited",
                fmt::format("The instance's limit of bandwidth or packets makes the adapter drop: {} just now.",
                            limited),
                "Choose a larger instance type or send less.", {{"drops_now", limited}});
        if (counter("verbs_reg_mr_failed_cnt") != 0)
            add(Severity::Warning, "registration-failed",
                fmt::format(
                    "{} memory registrations failed{}.", counter("verbs_reg_mr_failed_cnt"),
                    snapshot_.lockedMemory < kSmallLockLimit
                        ? fmt::format("; the limit of locked memory is only {} KiB here", snapshot_.lockedMemory / 1024)
                        : ""),
                "Raise the limit: 'ulimit -l unlimited', or memlock in /etc/security/limits.conf.",
                {{"failed", counter("verbs_reg_mr_failed_cnt")}, {"locked_memory_limit", snapshot_.lockedMemory}});
    }

    void events() {
        uint64_t sum = 0;
        uint64_t most = 0;
        std::map<std::string, uint32_t> cpus;
        Json shares = Json::array();
        for (const CompletionVector& vector : adapter_->vectors) {
            const uint64_t grown = vector.second.events - std::min(vector.second.events, vector.first.events);
            sum += grown;
            most = std::max(most, grown);
            ++cpus[vector.cpus];
            shares.push_back({{"irq", vector.second.irq}, {"cpus", vector.cpus}, {"events_now", grown}});
        }
        if (adapter_->vectors.size() < 2)
            return;
        if (cpus.size() == 1 && !cpus.begin()->first.empty() &&
            cpus.begin()->first.find_first_of(",-") == std::string::npos)
            add(Severity::Warning, "interrupts-not-balanced",
                fmt::format("All {} completion interrupts go to CPU {}.", adapter_->vectors.size(),
                            cpus.begin()->first),
                "Start irqbalance, or spread them by /proc/irq/*/smp_affinity_list.", {{"vectors", shares}});
        else if (sum > kManyEvents && most > sum / 10 * 9)
            add(Severity::Warning, "interrupts-not-balanced",
                fmt::format("One of {} completion vectors gets {} of {} events.", adapter_->vectors.size(), most, sum),
                "Let the program create its completion queues with different vectors.", {{"vectors", shares}});
    }

    void connections() {
        Json waiting = Json::array();
        for (const auto& cep : adapter_->ceps)
            if (cep.state >= 1 && cep.state <= 4 && cep.state_age_ms > kSlowSetup)
                waiting.push_back({{"cep", cep.number}, {"state", cepState(cep.state)}, {"ms", cep.state_age_ms}});
        if (!waiting.empty())
            add(Severity::Warning, "slow-setup",
                fmt::format("{} connections are being set up for more than {} s.", waiting.size(), kSlowSetup / 1000),
                "'eadm info cep' shows them: CONNECTING waits for the peer's network, GOT_REQUEST for the program "
                "here.",
                {{"endpoints", waiting}});
        struct Cause {
            const char *counter, *id, *text, *advice;
        };
        static constexpr Cause causes[] = {
            {"cm_refused_cnt", "connection-refused", "{} connections went to ports where nobody listens.",
             "Start the server first, or correct the port."},
            {"cm_timeout_cnt", "connection-timeout", "{} connections got no answer in time.",
             "Look at security groups and firewalls, and whether the peer listens with RDMA and not with TCP."},
            {"cm_rejected_cnt", "connection-rejected", "{} connections were rejected by the peer.",
             "The program there says why."},
            {"cm_bad_requests_cnt", "bad-requests", "{} incoming connections did not speak RDMA.",
             "Ordinary TCP clients or port scanners connect to an RDMA port."}};
        for (const Cause& cause : causes)
            if (counter(cause.counter) != 0)
                add(growth(cause.counter) != 0 ? Severity::Warning : Severity::Note, cause.id,
                    fmt::format(fmt::runtime(cause.text), counter(cause.counter)), cause.advice,
                    {{"count", counter(cause.counter)}, {"now", growth(cause.counter)}});
        const bool failed = std::ranges::any_of(
            adapter_->qps, [](const WatchedQp& qp) { return (qp.second.flags & ERDMA_QP_FLAG_FAILED) != 0; });
        if (counter("qp_fatal_events_cnt") != 0)
            add(failed ? Severity::Fault : Severity::Note, "qp-failed",
                fmt::format("The adapter stopped {} queue pairs with an error.", counter("qp_fatal_events_cnt")),
                "The completions of their programs say why: wrong keys, lengths or rights, or a peer that vanished.",
                {{"events", counter("qp_fatal_events_cnt")}});
    }

    // The other end, if it is on this adapter too.
    const WatchedQp* peerOf(const WatchedQp& qp) const {
        const auto& link = qp.second.link;
        for (const WatchedQp& other : adapter_->qps) {
            const auto& back = other.second.link;
            if (&other != &qp && std::ranges::equal(link.own, back.peer) && std::ranges::equal(link.peer, back.own) &&
                link.own_port == back.peer_port && link.peer_port == back.own_port)
                return &other;
        }
        return nullptr;
    }

    static bool starved(const WatchedQp& qp) {
        const auto empty = [](const erdma_hw_qp& hw) { return hw.rq_pi == hw.rq_ci; };
        return empty(qp.first.hw) && empty(qp.second.hw) && qp.first.hw.rq_pi == qp.second.hw.rq_pi;
    }

    void queuePair(const WatchedQp& qp) {
        const auto& now = qp.second;
        const auto& hw = now.hw;
        const std::string name =
            fmt::format("queue pair {} of {} ({})", now.number, textOf(now.owner.name), now.owner.pid);
        const auto outstanding = static_cast<uint16_t>(hw.sq_pi - hw.sq_ci);
        const bool stuck = outstanding != 0 && hw.sq_ci == qp.first.hw.sq_ci &&
                           hw.tx_packets == qp.first.hw.tx_packets && qp.first.hw.sq_pi != qp.first.hw.sq_ci;
        const Json figures = {{"qp", now.number},
                              {"outstanding_blocks", outstanding},
                              {"receive_buffers", static_cast<uint16_t>(hw.rq_pi - hw.rq_ci)},
                              {"retransmits", hw.retransmits}};
        if (hw.retransmits > qp.first.hw.retransmits)
            add(Severity::Fault, "retransmissions",
                fmt::format("The network loses packets: {} retransmitted {} times just now, {} times in all.", name,
                            hw.retransmits - qp.first.hw.retransmits, hw.retransmits),
                "Look for loss on the path and for a peer that is overloaded.", figures);
        else if (hw.retransmits != 0)
            add(Severity::Note, "retransmissions", fmt::format("{} retransmitted {} times.", name, hw.retransmits),
                "Nothing is lost at the moment.", figures);

        const auto reads =
            std::ranges::count_if(qp.waiting, [](const std::string& op) { return op.starts_with("READ"); });
        if ((now.known & ERDMA_KNOWN_DEPTH) != 0 && now.ord != 0 && reads >= 2 &&
            static_cast<uint32_t>(reads) > now.ord)
            add(Severity::Warning, "read-depth",
                fmt::format("{} has {} reads waiting and may have {} under way.", name, reads, now.ord),
                "Connect with a larger initiator_depth and responder_resources, on both ends.",
                {{"qp", now.number}, {"reads", reads}, {"ord", now.ord}});

        const WatchedQp* peer = peerOf(qp);
        if (stuck && peer && starved(*peer))
            add(Severity::Fault, "no-receive-buffers",
                fmt::format("{} waits: its peer here, queue pair {} of {}, has posted no receive buffer.", name,
                            peer->second.number, textOf(peer->second.owner.name)),
                "The receiving program must post more receives, or answer sooner.", figures);
        else if (stuck)
            add(Severity::Warning, "stalled", fmt::format("{} has work that makes no progress.", name),
                "The peer takes nothing: it may have no receive buffers, hang, or be cut off ('eadm doctor' there says "
                "more).",
                figures);

        if (qp.pathMtu != 0 && adapter_->interface.mtu != 0 && qp.pathMtu < adapter_->interface.mtu)
            add(Severity::Warning, "mtu-mismatch",
                fmt::format("The path of {} carries packets of {} bytes, the interface {}.", name, qp.pathMtu,
                            adapter_->interface.mtu),
                "Give both ends and the route between them the same MTU.",
                {{"qp", now.number}, {"path", qp.pathMtu}, {"interface", adapter_->interface.mtu}});
    }

    void otherWays() {
        const uint64_t carried = growth("tx_bytes_cnt") + growth("rx_bytes_cnt");
        for (const OtherRdma& other : adapter_->others)
            add(other.sent != 0 ? Severity::Fault : Severity::Warning, "other-rdma-device",
                other.sent != 0
                    ? fmt::format(
                          "Traffic uses the software device {} on {} instead of the adapter: {} packets just now.",
                          other.name, other.netdev, other.sent)
                    : fmt::format("The software device {} is on the adapter's interface {}; programs may choose it.",
                                  other.name, other.netdev),
                fmt::format("Remove it: 'rdma link delete {}'.", other.name),
                {{"device", other.name}, {"packets_now", other.sent}});
        const uint64_t tcp = adapter_->interface.bytesPerSecond + adapter_->loopbackBytesPerSecond;
        if (adapter_->others.empty() && carried == 0 && tcp > kMuchTraffic && adapter_->tcpConnections != 0)
            add(Severity::Warning, "tcp-instead",
                fmt::format("{} TCP connections of this interface carry {}B/s, and RDMA nothing.",
                            adapter_->tcpConnections, scaled(static_cast<double>(tcp))),
                "If they should use RDMA, see that the program found the device (its own log, or NCCL_DEBUG=INFO).",
                {{"tcp_connections", adapter_->tcpConnections},
                 {"bytes_per_second", tcp},
                 {"rdma_bytes_now", carried}});
    }

    const Snapshot& snapshot_;
    const Adapter* adapter_ = nullptr;
    std::vector<Finding> findings_;
};

std::string severityName(Severity severity) {
    return severity == Severity::Fault ? "fault" : severity == Severity::Warning ? "warning" : "note";
}

} // namespace

std::vector<Finding> diagnose(const Snapshot& snapshot) { return Examination(snapshot).run(); }

Json toJson(const Finding& finding) {
    Json json;
    json["severity"] = severityName(finding.severity);
    json["id"] = finding.id;
    json["device"] = finding.device.empty() ? Json() : Json(finding.device);
    json["text"] = finding.text;
    json["advice"] = finding.advice;
    json["figures"] = finding.figures;
    return json;
}

Exit examine(const Options& options) {
    const auto findings = diagnose(lookAround(options.device, 1.0));
    const bool healthy =
        std::ranges::none_of(findings, [](const Finding& finding) { return finding.severity != Severity::Note; });
    if (options.json) {
        Json list = Json::array();
        for (const Finding& finding : findings)
            list.push_back(toJson(finding));
        printJson({{"healthy", healthy}, {"findings", list}});
        return healthy ? Exit::Ok : Exit::Findings;
    }
    const Colours colours(options.colour);
    for (const Finding& finding : findings) {
        const auto colour = finding.severity == Severity::Fault     ? colours.red
                            : finding.severity == Severity::Warning ? colours.yellow
                                                                    : colours.bold;
        std::string figures;
        for (const auto& [name, value] : finding.figures.items())
            figures += fmt::format("{}{}={}", figures.empty() ? "" : " ", name,
                                   value.is_primitive() ? plain(value) : value.dump());
        print(fmt::format("{}{}{}{}: {}\n    {}\n{}", colour, severityName(finding.severity), colours.reset,
                          finding.device.empty() ? "" : " " + finding.device, finding.text, finding.advice,
                          figures.empty() ? "" : fmt::format("    [{}: {}]\n", finding.id, figures)));
    }
    if (healthy)
        print(fmt::format("{}healthy{}\n", colours.green, colours.reset));
    return healthy ? Exit::Ok : Exit::Findings;
}

} // namespace eadm
