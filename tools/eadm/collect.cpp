// SPDX-License-Identifier: GPL-2.0-or-later
// What eadm doctor looks at.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include <arpa/inet.h>
#include <sys/resource.h>

#include <fmt/format.h>

#include "commands.h"
#include "decode.h"
#include "doctor.h"
#include "objects.h"
#include "rates.h"

namespace eadm {

namespace {

namespace fs = std::filesystem;

constexpr const char* kVendor = "0x1ded";
constexpr const char* kDevice = "0x107f";

uint64_t numberIn(const std::string& path) {
    const std::string line = firstLine(path);
    uint64_t value = 0;
    std::from_chars(line.data(), line.data() + line.size(), value);
    return value;
}

std::vector<fs::path> folderOf(const std::string& path) {
    std::vector<fs::path> list;
    std::error_code error;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error))
        list.push_back(at->path());
    std::ranges::sort(list);
    return list;
}

void findFunctions(Snapshot& snapshot) {
    for (const fs::path& function : folderOf("/sys/bus/pci/devices")) {
        if (firstLine(function / "vendor") != kVendor || firstLine(function / "device") != kDevice)
            continue;
        snapshot.functions.push_back(function.filename());
        std::error_code error;
        if (!fs::exists(function / "driver", error))
            snapshot.unbound.push_back(function.filename());
    }
}

void findNodes(Snapshot& snapshot, const std::vector<erdma_info_device>& devices) {
    std::error_code error;
    if (!fs::exists("/dev/infiniband/rdma_cm", error))
        snapshot.missingNodes.push_back("/dev/infiniband/rdma_cm");
    for (const auto& device : devices) {
        const auto nodes = folderOf("/sys/class/infiniband/" + textOf(device.name) + "/device/infiniband_verbs");
        if (nodes.empty())
            snapshot.missingNodes.push_back("/dev/infiniband/uverbs*");
    }
}

std::vector<OtherRdma> otherDevices(const std::string& netdev) {
    std::vector<OtherRdma> list;
    for (const fs::path& device : folderOf("/sys/class/infiniband")) {
        std::error_code error;
        // Software devices hang on an interface and not on a PCI function.
        if (fs::exists(device / "device", error) || netdev.empty())
            continue;
        if (firstLine(device / "ports/1/gid_attrs/ndevs/0") != netdev && firstLine(device / "parent") != netdev)
            continue;
        list.push_back({device.filename(), numberIn(device / "ports/1/hw_counters/sent_pkts"), netdev});
    }
    return list;
}

Counters counters(const Driver& driver, uint32_t device) {
    Counters counters;
    for (const auto& counter : driver.list<erdma_info_counter>(ERDMA_KIND_COUNTER, device).entries)
        counters.set(textOf(counter.name), counter.value);
    return counters;
}

// Every connected queue pair that this process may see, with what the adapter knows of it.
void findQueuePairs(const Driver& driver, Adapter& adapter) {
    const uint32_t device = adapter.device.device;
    auto page = driver.list<erdma_info_qp>(ERDMA_KIND_QP, device);
    adapter.unseen.hiddenQps = page.hidden;
    adapter.unseen.allQps = page.hidden + page.entries.size();
    for (const auto& qp : page.entries) {
        if ((qp.flags & ERDMA_QP_FLAG_FAILED) != 0)
            adapter.failed.push_back(qp);
        if ((qp.known & ERDMA_KNOWN_ADDRESSES) == 0)
            continue;
        const double at = steadySeconds();
        const auto asked = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device, qp.number);
        if (!asked || asked->age_ms < qp.age_ms || (asked->known & ERDMA_KNOWN_ADDRESSES) == 0)
            continue; // it is gone
        if ((asked->known & ERDMA_KNOWN_HARDWARE) == 0)
            ++adapter.unseen.silentQps;
        else
            adapter.qps.push_back({*asked, *asked, at, std::nullopt, 0, {}});
    }
}

void watchQueuePairs(const Driver& driver, Adapter& adapter, bool mayDump) {
    const uint32_t device = adapter.device.device;
    std::map<std::array<uint8_t, 16>, uint32_t> mtus; // by peer
    std::erase_if(adapter.qps, [&](WatchedQp& watched) {
        const auto asked = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device, watched.first.number);
        if (!asked || asked->age_ms < watched.first.age_ms || (asked->known & ERDMA_KNOWN_ADDRESSES) == 0)
            return true;
        if ((asked->known & ERDMA_KNOWN_HARDWARE) == 0) {
            ++adapter.unseen.silentQps;
            return true;
        }
        watched.seconds = steadySeconds() - watched.seconds;
        watched.second = *asked;
        const auto [mtu, fresh] = mtus.try_emplace(std::to_array(asked->link.peer), 0);
        if (fresh)
            mtu->second = pathMtu(asked->link);
        watched.pathMtu = mtu->second;
        try {
            if (mayDump)
                watched.waiting = waitingOperations(driver, device, *asked);
        } catch (const Error&) {
            watched.waiting.emplace(); // it was destroyed in between
        }
        return false;
    });
    std::vector<erdma_info_link> links;
    for (const WatchedQp& qp : adapter.qps)
        links.push_back(qp.second.link);
    const auto translated = translations(links);
    adapter.unseen.translations = !translated;
    for (WatchedQp& qp : adapter.qps)
        if (translated)
            if (const auto at = translated->find(tupleOf(qp.second.link)); at != translated->end())
                qp.translation = at->second;
}

void lookAtAdapter(const Driver& driver, Adapter& adapter, bool first, bool mayDump) {
    const uint32_t device = adapter.device.device;
    (first ? adapter.first : adapter.second) = counters(driver, device);
    adapter.seconds = steadySeconds() - adapter.seconds;
    const auto queues = driver.list<erdma_info_eq>(ERDMA_KIND_EQ, device).entries;
    for (size_t i = 2; i < queues.size(); ++i) {
        if (first)
            adapter.vectors.push_back({queues[i], queues[i], {}});
        else if (i - 2 < adapter.vectors.size())
            adapter.vectors[i - 2].second = queues[i];
    }
    if (first)
        findQueuePairs(driver, adapter);
    else
        watchQueuePairs(driver, adapter, mayDump);
}

// Addresses of its interface that a RoCEv2 adapter does not answer to, and queue pairs whose address it has no more.
void lookAtGids(Adapter& adapter) {
    if (adapter.device.protocol == 0 || !adapter.interface.exists || !adapter.interface.up)
        return;
    std::set<std::string> gids;
    for (const auto& [index, gid] : gidTable(textOf(adapter.device.name))) {
        std::array<uint8_t, 16> octets{};
        if (inet_pton(AF_INET6, gid.c_str(), octets.data()) == 1)
            gids.insert(addressText(octets));
    }
    for (const std::string& address : ownAddresses(textOf(adapter.device.netdev)))
        if (!gids.contains(address))
            adapter.withoutGid.push_back(address);
    for (WatchedQp& qp : adapter.qps)
        qp.gidGone = !gids.contains(addressText(qp.second.link.own));
}

// What needs one look, at the end.
void lookOnce(const Driver& driver, Adapter& adapter) {
    for (const auto& device : devicesOf(driver))
        if (device.device == adapter.device.device)
            adapter.device = device; // it may have broken meanwhile
    adapter.interface = lookAtInterface(textOf(adapter.device.netdev));
    lookAtGids(adapter);
    auto ceps = driver.list<erdma_info_cep>(ERDMA_KIND_CEP, adapter.device.device);
    adapter.unseen.hiddenCeps = ceps.hidden;
    adapter.unseen.allCeps = ceps.hidden + ceps.entries.size();
    adapter.ceps = std::move(ceps.entries);
    if (driver.knows(ERDMA_KIND_FINDING)) {
        auto found = driver.list<erdma_info_finding>(ERDMA_KIND_FINDING, adapter.device.device);
        adapter.unseen.hiddenFound = found.hidden;
        adapter.found = std::move(found.entries);
    }
    for (CompletionVector& vector : adapter.vectors) {
        const std::string folder = fmt::format("/proc/irq/{}/", vector.second.irq);
        vector.cpus = firstLine(folder + "effective_affinity_list");
        if (vector.cpus.empty())
            vector.cpus = firstLine(folder + "smp_affinity_list");
    }
}

void lookAtMachine(Snapshot& snapshot) {
    findFunctions(snapshot);
    snapshot.windowScaling = firstLine("/proc/sys/net/ipv4/tcp_window_scaling") != "0";
    std::istringstream memory(firstLine("/proc/sys/net/ipv4/tcp_rmem"));
    uint64_t least = 0;
    uint64_t usual = 0;
    memory >> least >> usual >> snapshot.receiveWindow;
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    snapshot.lockedMemory = limit.rlim_cur;
}

} // namespace

Snapshot lookAround(const std::string& device, double seconds) {
    Snapshot snapshot;
    lookAtMachine(snapshot);
    std::optional<Driver> driver;
    try {
        driver.emplace();
        snapshot.driver = true;
    } catch (const Error& error) {
        snapshot.driverTrouble = error.what();
        snapshot.driverMissing = error.exit() == Exit::NoDriver;
        return snapshot;
    }
    const bool mayDump = (driver->version().rights & ERDMA_RIGHT_CHANGE) != 0;
    auto devices = devicesOf(*driver);
    for (const std::string& function : snapshot.functions)
        if (std::ranges::find(snapshot.unbound, function) == snapshot.unbound.end() &&
            std::ranges::none_of(devices, [&](const auto& one) { return textOf(one.pci) == function; }))
            snapshot.invisible.push_back(function);
    if (!device.empty()) {
        devices = {chooseDevice(*driver, device)};
        snapshot.invisible.clear();
    }
    findNodes(snapshot, devices);

    struct Before {
        std::vector<OtherRdma> others;
        std::set<uint32_t> addresses;
        std::optional<TcpTable> tcp;
        double at;
    };
    std::vector<Before> before;
    for (const auto& one : devices) {
        Adapter adapter;
        adapter.device = one;
        lookAtAdapter(*driver, adapter, true, mayDump);
        const std::string netdev = textOf(one.netdev);
        const auto addresses = servedAddresses(netdev);
        before.push_back({otherDevices(netdev), addresses, tcpConnections(addresses), steadySeconds()});
        snapshot.adapters.push_back(std::move(adapter));
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));

    for (size_t i = 0; i < snapshot.adapters.size(); ++i) {
        Adapter& adapter = snapshot.adapters[i];
        lookAtAdapter(*driver, adapter, false, mayDump);
        const auto tcp = tcpConnections(before[i].addresses);
        adapter.unseen.tcp = !tcp || !before[i].tcp;
        if (tcp && before[i].tcp)
            adapter.tcp = tcpGrowth(*before[i].tcp, *tcp, steadySeconds() - before[i].at);
        adapter.others = otherDevices(textOf(adapter.device.netdev));
        for (OtherRdma& other : adapter.others)
            for (const OtherRdma& old : before[i].others)
                if (old.name == other.name)
                    other.sent -= std::min(other.sent, old.sent);
        lookOnce(*driver, adapter);
    }
    return snapshot;
}

} // namespace eadm
