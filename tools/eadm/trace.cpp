// SPDX-License-Identifier: GPL-2.0-or-later
// eadm trace: the driver's tracepoints as they happen, in a trace instance of its own.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <exception>
#include <functional>
#include <map>
#include <memory>

#include <traceevent/event-parse.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.h"
#include "traceevent.h"
#include "tracing.h"

namespace eadm {

namespace {

constexpr double kPause = 0.2; // seconds between two looks

int64_t clockNanoseconds(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// A private instance: others may trace as they like.
class Instance {
public:
    Instance() {
        tracing_trouble trouble = TRACING_FINE;
        tracing_.reset(tracing_open("erdma", fmt::format("eadm-{}", getpid()).c_str(), &trouble));
        const int error = errno;
        switch (trouble) {
        case TRACING_FINE:
            break;
        case TRACING_NO_ACCESS:
            throw Error(geteuid() == 0 ? Exit::Failed : Exit::NoRights,
                        "the kernel's tracing is not accessible; run as root, with tracefs mounted");
        case TRACING_NO_EVENTS:
            throw Error(Exit::NoDriver, "the driver is not loaded; load it with 'modprobe erdma'");
        case TRACING_NO_INSTANCE:
            throw Error(error == EACCES || error == EPERM ? Exit::NoRights : Exit::Failed,
                        fmt::format("no trace instance can be made: {}", std::strerror(error)));
        default:
            throw Error(Exit::Failed, "the tracepoints cannot be switched on");
        }
    }

    // Hands on what has happened since the last call, in order.
    void read(const std::function<void(tep_event&, tep_record&)>& each) {
        Reading reading{each, {}};
        tracing_read(tracing_.get(), onRecord, &reading);
        if (reading.trouble)
            std::rethrow_exception(reading.trouble);
    }

private:
    struct Reading {
        const std::function<void(tep_event&, tep_record&)>& each;
        std::exception_ptr trouble; // must not pass through the library
    };

    static int onRecord(tep_event* event, tep_record* record, int, void* context) {
        auto& reading = *static_cast<Reading*>(context);
        try {
            if (event)
                reading.each(*event, *record);
        } catch (...) {
            reading.trouble = std::current_exception();
            return -1;
        }
        return 0;
    }

    std::unique_ptr<tracing, void (*)(tracing*)> tracing_{nullptr, tracing_close};
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
    Options lines = options;
    lines.line = true;

    Instance instance;
    const int64_t wall = clockNanoseconds(CLOCK_REALTIME) - clockNanoseconds(CLOCK_MONOTONIC);
    const auto begin = std::chrono::steady_clock::now();
    bool more = true;
    while (more) {
        const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        more = !stopped() && (seconds <= 0 || passed < seconds); // and once more, for what came before
        instance.read([&](tep_event& event, tep_record& record) {
            if (record.missed_events != 0)
                std::fputs("eadm: more happened than could be recorded; some events are missing here\n", stderr);
            Json json;
            json["time"] = timeText(wall + static_cast<int64_t>(record.ts));
            json.update(traceJson(event, record));
            const auto name =
                json["device"].is_number_unsigned() ? names.find(json["device"].get<uint64_t>()) : names.end();
            if (name == names.end() && !options.device.empty())
                return;
            json["device"] = name == names.end() ? plain(json["device"]) : name->second;
            if (options.json)
                printJson(lines, std::move(json));
            else
                print(traceText(json));
        });
        if (more)
            sleepFor(seconds > 0 ? std::clamp(seconds - passed, 0.01, kPause) : kPause);
    }
    return Exit::Ok;
}

} // namespace eadm
