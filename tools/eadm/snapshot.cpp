// SPDX-License-Identifier: GPL-2.0-or-later
// eadm snapshot: what a support case needs, in a file.
#include <array>
#include <bit>
#include <fstream>
#include <sstream>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/klog.h>

#include <fmt/format.h>

#include "commands.h"
#include "mask.h"
#include "objects.h"
#include "recording.h"
#include "snapshotjson.h"

namespace eadm {

namespace {

constexpr size_t kMostLogLines = 500; // the last ones

// The lines of a text that `wanted` likes, without what a terminal would take for orders.
template <typename Wanted> Json linesOf(std::istream& text, Wanted wanted) {
    Json lines = Json::array();
    for (std::string line; std::getline(text, line);) {
        if (!wanted(line))
            continue;
        lines.push_back(textOf({reinterpret_cast<const uint8_t*>(line.data()), line.size()}));
        if (lines.size() > kMostLogLines)
            lines.erase(lines.begin());
    }
    return lines;
}

template <typename Wanted> Json linesOfFile(const std::string& path, Wanted wanted) {
    std::ifstream file(path);
    return linesOf(file, wanted);
}

bool anyLine(const std::string&) { return true; }

bool isOurs(const std::string& line) {
    for (const char* word : {"erdma", "infiniband", "rdma", "ib_", "iw_cm", "siw", "rxe", "1ded"})
        if (line.find(word) != std::string::npos)
            return true;
    return false;
}

Json kernelLog() {
    constexpr int readAll = 3, size = 10;
    const int bytes = klogctl(size, nullptr, 0);
    std::string text(static_cast<size_t>(std::max(bytes, 0)), 0);
    const int got = text.empty() ? -1 : klogctl(readAll, text.data(), bytes);
    if (got < 0)
        return Json::array({"the kernel log may not be read"});
    text.resize(static_cast<size_t>(got));
    std::istringstream lines(text);
    return linesOf(lines, isOurs);
}

Json addressesOfMachine() {
    Json list = Json::array();
    ifaddrs* all = nullptr;
    if (getifaddrs(&all) != 0)
        return list;
    for (const ifaddrs* one = all; one; one = one->ifa_next) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        if (!one->ifa_addr)
            continue;
        if (one->ifa_addr->sa_family == AF_INET)
            inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text.data(),
                      text.size());
        else if (one->ifa_addr->sa_family == AF_INET6)
            inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr, text.data(),
                      text.size());
        else
            continue;
        list.push_back(
            fmt::format("{} {}{}", one->ifa_name, text.data(), (one->ifa_flags & IFF_UP) != 0 ? "" : " down"));
    }
    freeifaddrs(all);
    return list;
}

// "eth0 10.0.0.0/24 via 10.0.0.1 metric 0", of /proc/net/route.
Json routesOfMachine() {
    Json list = Json::array();
    std::ifstream file("/proc/net/route");
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string name, flags, references, use, metric;
        uint32_t to = 0, by = 0, mask = 0;
        words >> name >> std::hex >> to >> by >> flags >> references >> use >> metric >> mask;
        const auto text = [](uint32_t address) {
            std::array<char, INET_ADDRSTRLEN> out{};
            inet_ntop(AF_INET, &address, out.data(), out.size());
            return std::string(out.data());
        };
        if (words)
            list.push_back(
                fmt::format("{} {}/{} via {} metric {}", name, text(to), std::popcount(mask), text(by), metric));
    }
    return list;
}

Json machineJson() {
    Json json;
    json["kernel"] = firstLine("/proc/version");
    json["system"] =
        linesOfFile("/etc/os-release", [](const std::string& line) { return line.starts_with("PRETTY_NAME="); });
    json["modules"] = linesOfFile("/proc/modules", isOurs);
    json["interrupts"] = linesOfFile("/proc/interrupts", [](const std::string& line) {
        return line.find("erdma") != std::string::npos || line.find("CPU0") != std::string::npos;
    });
    json["interfaces"] = linesOfFile("/proc/net/dev", anyLine);
    json["addresses"] = addressesOfMachine();
    json["routes"] = routesOfMachine();
    json["log"] = kernelLog();
    return json;
}

void maskTexts(Json& json, Mask& mask) {
    if (json.is_structured()) {
        for (Json& part : json)
            maskTexts(part, mask);
    } else if (json.is_string()) {
        auto text = json.get<std::string>();
        mask.apply(text);
        json = text;
    }
}

} // namespace

Exit takeSnapshot(const Options& options, const SnapshotOptions& what) {
    const Thresholds thresholds = readThresholds(what.doctor.config);
    const double seconds = what.doctor.seconds.value_or(thresholds.seconds);
    Mask mask(what.mask);
    Json file;
    file["format"] = "eadm-snapshot";
    file["snapshot_version"] = 1;
    file["time"] = timeText();
    file["eadm"] = EADM_VERSION;
    file["masked"] = what.mask;
    file["version"] = Json();
    file["looks"] = Json::array();
    std::optional<Driver> driver;
    try {
        driver.emplace();
        file["version"] = hexOfStruct(driver->version());
        file["looks"].push_back(recordLook(*driver, mask));
    } catch (const Error& error) {
        file["driver_trouble"] = error.what();
    }
    Snapshot snapshot = lookAround("", seconds);
    if (driver && file["looks"].size() == 1)
        file["looks"].push_back(recordLook(*driver, mask));
    else
        file["version"] = Json();
    mask.apply(snapshot);
    file["doctor"] = snapshotJson(snapshot);
    file["machine"] = machineJson();
    maskTexts(file["machine"], mask);

    std::ofstream out(what.file, std::ios::trunc);
    out << file.dump(1) << '\n' << std::flush;
    if (!out)
        throw Error(Exit::Failed, fmt::format("{} cannot be written", what.file));
    if (!options.json)
        print(fmt::format("{}: {} adapters; it holds no data of programs, but their names{}\n", what.file,
                          snapshot.adapters.size(), what.mask ? "" : " and addresses (--mask replaces these)"));
    else
        printJson(options, {{"file", what.file}, {"adapters", snapshot.adapters.size()}, {"masked", what.mask}});
    return Exit::Ok;
}

Snapshot lookAt(const Options& options, double seconds) {
    if (options.from.empty())
        return lookAround(options.device, seconds);
    const Recording recording(options.from);
    Snapshot snapshot;
    try {
        snapshot = snapshotFrom(recording.json().at("doctor"));
    } catch (const std::exception& error) {
        throw Error(Exit::Usage, fmt::format("{}: {}", options.from, error.what()));
    }
    if (options.device.empty())
        return snapshot;
    std::erase_if(snapshot.adapters, [&](const Adapter& one) { return !isDevice(one.device, options.device); });
    if (snapshot.adapters.empty())
        throw Error(Exit::NoDevice, fmt::format("there is no adapter '{}' in {}", options.device, options.from));
    return snapshot;
}

} // namespace eadm
