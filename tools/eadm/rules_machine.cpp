// SPDX-License-Identifier: GPL-2.0-or-later
// The rules about the machine, the adapter, its interface, its commands and its interrupts.
#include <algorithm>

#include <fmt/format.h>

#include "examination.h"
#include "objects.h"

namespace eadm {

void Examination::machine() {
    if (snapshot_.functions.empty() && snapshot_.adapters.empty()) {
        add(Severity::Fault, "no-adapter", "This machine has no Elastic RDMA Adapter.",
            "Attach one to the instance: an elastic network interface with the RDMA option.");
        return;
    }
    if (!snapshot_.driver && !snapshot_.driverMissing) {
        add(Severity::Unknown, "not-examined", fmt::format("The driver cannot be asked: {}.", snapshot_.driverTrouble),
            "Run it as root; if that does not help, update the driver and eadm to the same version.",
            {{"adapters", snapshot_.functions}});
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
    for (const std::string& function : snapshot_.invisible)
        add(Severity::Unknown, "not-examined",
            fmt::format("The driver does not show the adapter at {} to this process.", function),
            "Run it in the network namespace that the adapter belongs to ('rdma system', 'rdma dev').",
            {{"pci", function}});
    if (!snapshot_.missingNodes.empty()) {
        std::string nodes;
        for (const std::string& node : snapshot_.missingNodes)
            nodes += (nodes.empty() ? "" : ", ") + node;
        add(Severity::Fault, "modules-missing", fmt::format("Programs cannot use RDMA: {} is not there.", nodes),
            "Run 'modprobe -a ib_uverbs rdma_ucm' and see that they are loaded at boot (package rdma-core).",
            {{"missing", snapshot_.missingNodes}});
    }
    // RoCEv2 has no TCP connections.
    const bool tcp = snapshot_.adapters.empty() || std::ranges::any_of(snapshot_.adapters, [](const Adapter& one) {
                         return one.device.protocol == 0;
                     });
    const bool small =
        snapshot_.receiveWindow != 0 && static_cast<double>(snapshot_.receiveWindow) < limits_.small_window;
    if (tcp && (!snapshot_.windowScaling || small))
        add(Severity::Warning, "small-window",
            fmt::format("New connections are limited by their window: TCP, which sets them up, offers {} at most.",
                        snapshot_.windowScaling ? fmt::format("{} bytes", snapshot_.receiveWindow)
                                                : std::string("65535 bytes because window scaling is off")),
            "Set net.ipv4.tcp_window_scaling=1 and raise the last value of net.ipv4.tcp_rmem, on both ends.",
            {{"tcp_window_scaling", snapshot_.windowScaling}, {"tcp_rmem_most", snapshot_.receiveWindow}});
}

void Examination::device() {
    const auto& device = adapter_->device;
    if ((device.flags & ERDMA_DEVICE_BROKEN) != 0)
        add(Severity::Fault, "device-broken", "The adapter is out of use: it did not answer a command or was removed.",
            fmt::format("'dmesg | grep {}' says what happened; unload and load the driver.", textOf(device.pci)),
            {{"command_timeouts", counter(Counter::cmdq_timeout_cnt)}});
    const auto nearly = [&](const char* what, uint32_t used, uint32_t limit) {
        if (limit != 0 && used * 100.0 > limit * limits_.limit_percent)
            add(Severity::Warning, "limit-reached", fmt::format("{} of {} {} are in use.", used, limit, what),
                "Look with 'eadm info' for the program that uses them.", {{"used", used}, {"limit", limit}});
    };
    nearly("queue pairs", device.qps, device.max_qp);
    nearly("completion queues", device.cqs, device.max_cq);
    nearly("memory regions", device.mrs, device.max_mr);
    nearly("protection domains", device.pds, device.max_pd);
    nearly("contexts", device.contexts, device.max_ctx);
}

void Examination::interface() {
    const Interface& nic = adapter_->interface;
    const auto& device = adapter_->device;
    const std::string name = textOf(device.netdev);
    if (name.empty()) {
        add(Severity::Fault, "not-paired",
            "The adapter has no network interface: the one with its MAC address is not there.",
            "Load the driver of the interface, or move it back to the initial network namespace.");
        return;
    }
    if (!nic.exists) {
        add(Severity::Unknown, "not-examined",
            fmt::format("The adapter's interface {} is not in the network namespace of this process.", name),
            "Run it in the initial network namespace.", {{"interface", name}});
        return;
    }
    std::string elsewhere;
    Json uppers = Json::array();
    for (const Upper& upper : nic.uppers) {
        for (const std::string& address : upper.addresses)
            elsewhere += fmt::format("{}{} is on {}{}{}", elsewhere.empty() ? "" : "; ", address, upper.name,
                                     upper.why.empty() ? "" : ", ", upper.why);
        uppers.push_back({{"interface", upper.name}, {"addresses", upper.addresses}, {"why", upper.why}});
    }
    if (!nic.up || !nic.carrier)
        add(Severity::Fault, "interface-down",
            fmt::format("The interface {} is down{}: no connection can be made.", name, nic.up ? " (no carrier)" : ""),
            fmt::format("Run 'ip link set {} up'.", name), {{"up", nic.up}, {"carrier", nic.carrier}});
    else if (!nic.master.empty())
        add(Severity::Fault, "address-elsewhere",
            fmt::format("The interface {} is part of {}{}: its packets go there, and the adapter carries only "
                        "connections of addresses that {} itself has, or a bridge, bond or VLAN over it.",
                        name, nic.master, elsewhere.empty() ? "" : fmt::format(" ({})", elsewhere), name),
            fmt::format("Take it out ('ip link set {} nomaster') and give it the address itself.", name),
            {{"master", nic.master}, {"uppers", uppers}});
    else if (nic.addresses == 0 && !elsewhere.empty())
        add(Severity::Fault, "address-elsewhere",
            fmt::format("The adapter has no IPv4 address whose packets pass its interface {}: {}.", name, elsewhere),
            fmt::format("Move the address to {}, or use another one there for RDMA.", name),
            {{"master", nullptr}, {"uppers", uppers}});
    else if (nic.addresses == 0)
        add(Severity::Fault, "no-address", fmt::format("The interface {} has no IPv4 address.", name),
            fmt::format("Give it one: 'dhclient {}' or 'ip addr add'.", name));
    const std::string mac = macText(device.mac);
    if (!nic.mac.empty() && nic.mac != mac)
        add(Severity::Fault, "mac-mismatch",
            fmt::format("The interface {} has the MAC address {} now, the adapter {}: what is sent to the interface "
                        "does not reach the adapter.",
                        name, nic.mac, mac),
            fmt::format("Give it back: 'ip link set {} address {}'.", name, mac),
            {{"interface", nic.mac}, {"adapter", mac}});
    if (nic.mtu != 0 && device.mtu != 0 && nic.mtu != device.mtu)
        add(Severity::Warning, "mtu-mismatch",
            fmt::format("The adapter works with an MTU of {}, its interface {} with {}.", device.mtu, name, nic.mtu),
            "Unload and load the driver.", {{"adapter", device.mtu}, {"interface", nic.mtu}});
    if (!adapter_->withoutGid.empty())
        add(Severity::Fault, "gid-missing",
            fmt::format("The adapter does not answer to {} of the addresses of {}: {}.", adapter_->withoutGid.size(),
                        name, fmt::join(adapter_->withoutGid, ", ")),
            "The kernel's log says why it has no GID of them; remove such an address and add it again.",
            {{"addresses", adapter_->withoutGid}});
}

// Past trouble is a note: only what grows while doctor watches is trouble now.
void Examination::commands() {
    const auto severity = [](uint64_t grown, Severity now) { return grown != 0 ? now : Severity::Note; };
    if (const uint64_t all = counter(Counter::cmdq_timeout_cnt), now = growth(Counter::cmdq_timeout_cnt); all != 0)
        add(severity(now, Severity::Fault), "command-timeout",
            fmt::format("{} commands got no answer from the adapter{}.", all,
                        now != 0 ? "" : ", none of them just now"),
            "Unload and load the driver; if it happens again, the instance should be moved to another host.",
            {{"timeouts", all}, {"now", now}});
    if (const uint64_t all = counter(Counter::cmdq_failed_cnt), now = growth(Counter::cmdq_failed_cnt); all != 0)
        add(severity(now, Severity::Fault), "command-failed",
            fmt::format("The adapter refused {} of {} commands, {} of them just now.", all,
                        counter(Counter::cmdq_submitted_cnt), now),
            "'eadm conf dprint_mask 1' logs each failure; 'eadm dump cmdcq' shows their status.",
            {{"failed", all}, {"submitted", counter(Counter::cmdq_submitted_cnt)}, {"now", now}});
    const uint64_t answers = counter(Counter::cmdq_rescued_cnt), events = counter(Counter::eq_rescued_cnt);
    const uint64_t rescued = growth(Counter::cmdq_rescued_cnt) + growth(Counter::eq_rescued_cnt);
    if (answers + events != 0)
        add(severity(rescued, Severity::Warning), "lost-interrupts",
            fmt::format("{} answers of the adapter and {} times its events came without their interrupt, {} of these "
                        "just now.",
                        answers, events, rescued),
            "Look at /proc/interrupts for erdma; a stopped irqbalance or a busy CPU may hold interrupts back.",
            {{"rescued", answers}, {"rescued_events", events}, {"now", rescued}});
    uint64_t nonsense = 0;
    uint64_t fresh = 0;
    for (const Counter one : {Counter::cmdq_bad_cnt, Counter::aeq_bad_events_cnt, Counter::ceq_bad_events_cnt}) {
        nonsense += counter(one);
        fresh += growth(one);
    }
    const bool many = fresh != 0 && rate(fresh) >= limits_.strange_events;
    if (nonsense != 0)
        add(many ? Severity::Warning : Severity::Note, "strange-events",
            fmt::format("The adapter sent {} answers or events that name nothing that exists, {} of them just now.",
                        nonsense, fresh),
            "A few are normal when objects are destroyed; report many, with 'eadm ver'.",
            {{"events", nonsense}, {"now", fresh}});
    if (const uint64_t all = counter(Counter::verbs_reg_mr_failed_cnt), now = growth(Counter::verbs_reg_mr_failed_cnt);
        all != 0)
        add(severity(now, Severity::Warning), "registration-failed",
            fmt::format(
                "{} memory registrations failed, {} of them just now{}.", all, now,
                static_cast<double>(snapshot_.lockedMemory) < limits_.small_lock_limit
                    ? fmt::format("; the limit of locked memory is only {} KiB here", snapshot_.lockedMemory / 1024)
                    : ""),
            "Raise the limit: 'ulimit -l unlimited', or memlock in /etc/security/limits.conf.",
            {{"failed", all}, {"now", now}, {"locked_memory_limit", snapshot_.lockedMemory}});
}

void Examination::drops() {
    const uint64_t disabled = growth(Counter::tx_disable_drop_cnt) + growth(Counter::rx_disable_drop_cnt);
    const uint64_t bits = growth(Counter::tx_bps_limit_drop_cnt) + growth(Counter::rx_bps_limit_drop_cnt);
    const uint64_t packets = growth(Counter::tx_pps_limit_drop_cnt) + growth(Counter::rx_pps_limit_drop_cnt);
    if (disabled != 0)
        add(Severity::Fault, "drops",
            fmt::format("The adapter drops packets because it is disabled: {} just now.", disabled),
            "See whether the interface is up and the instance has the RDMA option.", {{"now", disabled}});
    if (bits + packets != 0)
        add(Severity::Warning, "rate-limited",
            fmt::format("The instance's limit of {} makes the adapter drop packets: {} just now.",
                        packets == 0 ? "bandwidth"
                        : bits == 0  ? "packets a second"
                                     : "bandwidth and of packets a second",
                        bits + packets),
            "Choose a larger instance type or send less.", {{"bandwidth_now", bits}, {"packets_now", packets}});
}

void Examination::events() {
    uint64_t sum = 0;
    uint64_t most = 0;
    std::map<std::string, uint32_t> cpus;
    Json shares = Json::array();
    for (const CompletionVector& vector : adapter_->vectors) {
        const uint64_t grown = vector.second.events - std::min(vector.second.events, vector.first.events);
        sum += grown;
        most = std::max(most, grown);
        ++cpus[vector.cpus];
        shares.push_back({{"irq", vector.second.irq}, {"cpus", vector.cpus}, {"now", grown}});
    }
    if (adapter_->vectors.size() < 2)
        return;
    if (cpus.size() == 1 && !cpus.begin()->first.empty() &&
        cpus.begin()->first.find_first_of(",-") == std::string::npos)
        add(Severity::Warning, "interrupts-not-balanced",
            fmt::format("All {} completion interrupts go to CPU {}.", adapter_->vectors.size(), cpus.begin()->first),
            "Start irqbalance, or spread them by /proc/irq/*/smp_affinity_list.", {{"vectors", shares}});
    else if (rate(sum) >= limits_.unbalanced_events && most > sum / 10 * 9)
        add(Severity::Warning, "interrupts-not-balanced",
            fmt::format("One of {} completion vectors gets {} of {} events.", adapter_->vectors.size(), most, sum),
            "Let the program create its completion queues with different vectors.", {{"vectors", shares}});
}

} // namespace eadm
