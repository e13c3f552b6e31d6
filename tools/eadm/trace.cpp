// SPDX-License-Identifier: GPL-2.0-or-later
// eadm trace: the driver's tracepoints as they happen, in a trace instance of its own.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.h"
#include "decode.h"
#include "objects.h"
#include "tracetext.h"

namespace eadm {

namespace {

namespace fs = std::filesystem;

std::string findTracing() {
    for (const char* folder : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
        std::error_code error;
        if (fs::exists(fs::path(folder) / "instances", error))
            return folder;
    }
    throw Error(geteuid() == 0 ? Exit::Failed : Exit::NoRights,
                "the kernel's tracing is not accessible; run as root, with tracefs mounted");
}

// A private instance: others may trace as they like.
class Instance {
public:
    explicit Instance(const std::string& tracing) : folder_(fmt::format("{}/instances/eadm-{}", tracing, getpid())) {
        std::error_code error;
        if (!fs::create_directory(folder_, error))
            throw Error(Exit::NoRights, fmt::format("{}: {}", folder_, error.message()));
        try {
            if (!fs::exists(folder_ + "/events/erdma", error))
                throw Error(Exit::NoDriver, "the driver is not loaded; load it with 'modprobe erdma'");
            std::ofstream enable(folder_ + "/events/erdma/enable");
            enable << "1" << std::flush;
            if (!enable)
                throw Error(Exit::Failed, "the tracepoints cannot be switched on");
            fd_ = open((folder_ + "/trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd_ < 0)
                throw Error(Exit::Failed, fmt::format("{}/trace_pipe: {}", folder_, std::strerror(errno)));
        } catch (...) {
            remove();
            throw;
        }
    }
    ~Instance() { remove(); }
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;
    int fd() const { return fd_; }

private:
    void remove() {
        if (fd_ >= 0)
            close(fd_);
        fd_ = -1;
        std::ofstream(folder_ + "/events/enable") << "0";
        rmdir(folder_.c_str());
    }
    std::string folder_;
    int fd_ = -1;
};

} // namespace

Exit followTrace(const Options& options, double seconds) {
    std::map<uint64_t, std::string> names;
    {
        const Driver driver;
        for (const auto& device : devicesOf(driver))
            if (options.device.empty() || isDevice(device, options.device))
                names[device.device] = textOf(device.name);
        if (!options.device.empty() && names.empty())
            chooseDevice(driver, options.device);
    }
    stopOnSignals();

    const Instance instance(findTracing());
    const auto begin = std::chrono::steady_clock::now();
    std::string rest;
    while (!stopped()) {
        const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (seconds > 0 && passed >= seconds)
            break;
        pollfd poll{instance.fd(), POLLIN, 0};
        if (::poll(&poll, 1, 200) <= 0)
            continue;
        std::array<char, 4096> buffer;
        const ssize_t got = read(instance.fd(), buffer.data(), buffer.size());
        if (got <= 0)
            continue;
        rest.append(buffer.data(), static_cast<size_t>(got));
        for (size_t end; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
            const auto event = parseTraceLine(std::string_view(rest).substr(0, end));
            if (!event)
                continue;
            const auto name = names.find((*event)["device"].get<uint64_t>());
            if (name == names.end() && !options.device.empty())
                continue;
            Json json = *event;
            json["device"] = name == names.end() ? plain((*event)["device"]) : name->second;
            print(options.json ? json.dump() + '\n' : traceText(json));
        }
    }
    return Exit::Ok;
}

} // namespace eadm
