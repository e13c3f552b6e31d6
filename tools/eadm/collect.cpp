// SPDX-License-Identifier: GPL-2.0-or-later
// What eadm doctor looks at.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.h"
#include "decode.h"
#include "doctor.h"
#include "objects.h"

namespace eadm {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostQps = 256;   // that are looked at one by one
constexpr uint32_t kMostBlocks = 64; // of a send queue that are decoded
constexpr const char* kVendor = "0x1ded";
constexpr const char* kDevice = "0x107f";

uint64_t numberIn(const std::string& path) {
    const std::string line = firstLine(path);
    uint64_t value = 0;
    std::from_chars(line.data(), line.data() + line.size(), value);
    return value;
}

uint64_t bytesOf(const std::string& netdev) {
    const std::string folder = "/sys/class/net/" + netdev + "/statistics/";
    return numberIn(folder + "rx_bytes") + numberIn(folder + "tx_bytes");
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

Interface lookAtInterface(const std::string& name) {
    Interface nic;
    const std::string folder = "/sys/class/net/" + name + "/";
    std::error_code error;
    nic.exists = !name.empty() && fs::exists(folder, error);
    if (!nic.exists)
        return nic;
    uint64_t flags = 0;
    const std::string text = firstLine(folder + "flags");
    if (text.size() > 2)
        std::from_chars(text.data() + 2, text.data() + text.size(), flags, 16);
    nic.up = (flags & IFF_UP) != 0;
    nic.carrier = firstLine(folder + "carrier") == "1";
    nic.mtu = static_cast<uint32_t>(numberIn(folder + "mtu"));
    return nic;
}

// IPv4 addresses of an interface.
std::set<uint32_t> addressesOf(const std::string& name) {
    std::set<uint32_t> found;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0)
        return found;
    for (const ifaddrs* one = list; one; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && name == one->ifa_name) {
            sockaddr_in address{};
            std::memcpy(&address, one->ifa_addr, sizeof(address));
            found.insert(address.sin_addr.s_addr);
        }
    freeifaddrs(list);
    return found;
}

// Established connections on these addresses whose pair of ports is none of RDMA's.
uint32_t tcpConnections(const std::set<uint32_t>& addresses, const std::vector<erdma_info_cep>& ceps) {
    std::set<std::pair<uint32_t, uint32_t>> own;
    for (const auto& cep : ceps)
        own.emplace(cep.link.own_port, cep.link.peer_port);
    std::ifstream file("/proc/net/tcp");
    std::string line;
    std::getline(file, line);
    uint32_t count = 0;
    while (std::getline(file, line)) {
        std::istringstream words(line); // "0: 0100007F:1F90 00000000:0000 0A ..."
        std::string slot;
        char colon = 0;
        uint32_t address = 0, port = 0, peer = 0, peerPort = 0, state = 0;
        words >> slot >> std::hex >> address >> colon >> port >> peer >> colon >> peerPort >> state;
        if (words && state == 1 && addresses.contains(address) && !own.contains({port, peerPort}))
            ++count;
    }
    return count;
}

// As the kernel's routing knows it.
uint32_t pathMtu(const erdma_info_link& link) {
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(link.peer_port);
    std::memcpy(&peer.sin_addr, link.peer + 12, 4);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int mtu = 0;
    socklen_t size = sizeof(mtu);
    if (fd < 0)
        return 0;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) != 0 ||
        getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size) != 0)
        mtu = 0;
    close(fd);
    return static_cast<uint32_t>(std::max(mtu, 0));
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

Sample counters(const Driver& driver, uint32_t device) {
    Sample sample;
    sample.at = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    for (const auto& counter : driver.list<erdma_info_counter>(ERDMA_KIND_COUNTER, device).entries)
        sample.counters[textOf(counter.name)] = counter.value;
    return sample;
}

// What waits in a send queue, oldest first; needs the right to dump.
std::vector<std::string> waitingOperations(const Driver& driver, uint32_t device, const erdma_info_qp& qp) {
    std::vector<std::string> names;
    const auto blocks = static_cast<uint16_t>(qp.hw.sq_pi - qp.hw.sq_ci);
    if (blocks == 0 || qp.sq_depth == 0)
        return names;
    const uint32_t first = qp.hw.sq_ci & (qp.sq_depth - 1);
    const uint32_t count = std::min({uint32_t{blocks}, qp.sq_depth - first, kMostBlocks});
    const RingPart part = driver.dump(device, ERDMA_RING_SQ, qp.number, first, count);
    for (const Json& entry : decodeRing(*ringNamed("sq"), part, false))
        names.push_back(entry["op"].get<std::string>());
    return names;
}

void watchQueuePairs(const Driver& driver, Adapter& adapter, bool first, bool mayDump) {
    const uint32_t device = adapter.device.device;
    if (first) {
        for (const auto& qp :
             driver.list<erdma_info_qp>(ERDMA_KIND_QP, device, 0, ERDMA_LIST_HARDWARE, kMostQps).entries)
            if ((qp.known & ERDMA_KNOWN_ADDRESSES) != 0 && (qp.known & ERDMA_KNOWN_HARDWARE) != 0)
                adapter.qps.push_back({qp, qp, {}, 0});
        return;
    }
    std::erase_if(adapter.qps, [&](WatchedQp& watched) {
        const auto now = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device, watched.first.number);
        if (!now || (now->known & ERDMA_KNOWN_HARDWARE) == 0 || now->age_ms < watched.first.age_ms)
            return true;
        watched.second = *now;
        watched.pathMtu = pathMtu(now->link);
        try {
            if (mayDump)
                watched.waiting = waitingOperations(driver, device, *now);
        } catch (const Error&) {
            // It was destroyed in between.
        }
        return false;
    });
}

void lookAtAdapter(const Driver& driver, Adapter& adapter, bool first, bool mayDump) {
    const uint32_t device = adapter.device.device;
    (first ? adapter.first : adapter.second) = counters(driver, device);
    const auto queues = driver.list<erdma_info_eq>(ERDMA_KIND_EQ, device).entries;
    for (size_t i = 2; i < queues.size(); ++i) {
        if (first)
            adapter.vectors.push_back({queues[i], queues[i], {}});
        else if (i - 2 < adapter.vectors.size())
            adapter.vectors[i - 2].second = queues[i];
    }
    watchQueuePairs(driver, adapter, first, mayDump);
}

} // namespace

Snapshot lookAround(const std::string& device, double seconds) {
    Snapshot snapshot;
    findFunctions(snapshot);
    snapshot.windowScaling = firstLine("/proc/sys/net/ipv4/tcp_window_scaling") != "0";
    std::istringstream memory(firstLine("/proc/sys/net/ipv4/tcp_rmem"));
    uint64_t least = 0;
    uint64_t usual = 0;
    memory >> least >> usual >> snapshot.receiveWindow;
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    snapshot.lockedMemory = limit.rlim_cur;

    std::optional<Driver> driver;
    try {
        driver.emplace();
        snapshot.driver = true;
    } catch (const Error& error) {
        snapshot.driverTrouble = error.what();
        return snapshot;
    }
    const bool mayDump = (driver->version().rights & ERDMA_RIGHT_CHANGE) != 0;
    auto devices = devicesOf(*driver);
    if (!device.empty())
        devices = {chooseDevice(*driver, device)};
    findNodes(snapshot, devices);

    std::vector<uint64_t> bytes;
    std::vector<std::vector<OtherRdma>> others;
    for (const auto& one : devices) {
        Adapter adapter;
        adapter.device = one;
        lookAtAdapter(*driver, adapter, true, mayDump);
        others.push_back(otherDevices(textOf(one.netdev)));
        bytes.push_back(bytesOf(textOf(one.netdev)));
        snapshot.adapters.push_back(std::move(adapter));
    }
    const uint64_t loopback = bytesOf("lo");
    const auto begin = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const auto perSecond = [&](uint64_t before, uint64_t now) {
        return now > before ? static_cast<uint64_t>(static_cast<double>(now - before) / passed) : 0;
    };
    const uint64_t loopbackNow = bytesOf("lo");

    for (size_t i = 0; i < snapshot.adapters.size(); ++i) {
        Adapter& adapter = snapshot.adapters[i];
        const std::string netdev = textOf(adapter.device.netdev);
        lookAtAdapter(*driver, adapter, false, mayDump);
        adapter.interface = lookAtInterface(netdev);
        adapter.interface.bytesPerSecond = perSecond(bytes[i], bytesOf(netdev));
        adapter.loopbackBytesPerSecond = perSecond(loopback, loopbackNow);
        adapter.ceps = driver->list<erdma_info_cep>(ERDMA_KIND_CEP, adapter.device.device).entries;
        const auto addresses = addressesOf(netdev);
        adapter.interface.addresses = static_cast<uint32_t>(addresses.size());
        adapter.tcpConnections = tcpConnections(addresses, adapter.ceps);
        adapter.others = otherDevices(netdev);
        for (OtherRdma& other : adapter.others)
            for (const OtherRdma& before : others[i])
                if (before.name == other.name)
                    other.sent -= std::min(other.sent, before.sent);
        for (CompletionVector& vector : adapter.vectors) {
            const std::string folder = fmt::format("/proc/irq/{}/", vector.second.irq);
            vector.cpus = firstLine(folder + "effective_affinity_list");
            if (vector.cpus.empty())
                vector.cpus = firstLine(folder + "smp_affinity_list");
        }
    }
    return snapshot;
}

} // namespace eadm
