// SPDX-License-Identifier: GPL-2.0-or-later
// eadm metrics as a command: to the terminal, to a file that is replaced as a whole, or over HTTP.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <httplib.h>

#include "metrics.h"

namespace eadm {

namespace {

constexpr const char* kOpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";
constexpr const char* kTextType = "text/plain; version=0.0.4; charset=utf-8";

// Readers see the old content or the new, never a part.
void replaceFile(const std::string& path, const std::string& text) {
    std::string fresh = path + ".XXXXXX"; // node_exporter takes files that end in .prom
    const int fd = mkostemp(fresh.data(), O_CLOEXEC);
    if (fd < 0)
        throw Error(Exit::Failed, fmt::format("{}: {}", path, std::strerror(errno)));
    bool good = fchmod(fd, 0644) == 0;
    for (size_t done = 0; good && done < text.size();) {
        const ssize_t wrote = write(fd, text.data() + done, text.size() - done);
        good = wrote > 0 || (wrote < 0 && errno == EINTR);
        done += wrote > 0 ? static_cast<size_t>(wrote) : 0;
    }
    good = good && fsync(fd) == 0;
    const int error = errno;
    close(fd);
    if (good && rename(fresh.c_str(), path.c_str()) == 0)
        return;
    const int why = good ? errno : error;
    unlink(fresh.c_str());
    throw Error(Exit::Failed, fmt::format("{}: {}", path, std::strerror(why)));
}

Exit serve(const Options& options, const MetricsOptions& what) {
    const auto [address, port] = endpointOf(what.listen);
    httplib::Server server;
    server.new_task_queue = [] { return new httplib::ThreadPool(4); };
    server.set_read_timeout(5, 0);
    server.set_write_timeout(5, 0);
    server.set_keep_alive_max_count(100);
    server.set_payload_max_length(0); // nobody has to send us anything

    std::mutex one; // a look at a time: each costs the adapter commands
    server.Get("/metrics", [&](const httplib::Request& request, httplib::Response& response) {
        const bool open = request.get_header_value("Accept").find("application/openmetrics-text") != std::string::npos;
        try {
            const std::lock_guard lock(one);
            response.set_content(
                collectMetrics(options, what).text(open ? MetricsFormat::OpenMetrics : MetricsFormat::Text),
                open ? kOpenMetricsType : kTextType);
        } catch (const std::exception& error) {
            response.status = 503;
            response.set_content(fmt::format("{}\n", error.what()), "text/plain");
        }
    });
    server.Get("/", [](const httplib::Request&, httplib::Response& response) {
        response.set_content("eadm: the metrics are at /metrics\n", "text/plain");
    });

    const int bound = port == 0 ? server.bind_to_any_port(address) : server.bind_to_port(address, port) ? port : -1;
    if (bound < 0)
        throw Error(Exit::Failed, fmt::format("{} port {} cannot be listened at: {}", address, port,
                                              errno != 0 ? std::strerror(errno) : "no such address"));
    print(fmt::format("listening at {}:{}\n",
                      address.find(':') == std::string::npos ? address : fmt::format("[{}]", address), bound));
    stopOnSignals();
    // Signals are for this thread, whose sleep they end.
    sigset_t signals{};
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::jthread listener([&] { server.listen_after_bind(); });
    while (!server.is_running()) // one that does not run yet cannot be stopped
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    while (!stopped())
        sleepFor(1);
    server.stop();
    return Exit::Ok;
}

} // namespace

Exit showMetrics(const Options& options, const MetricsOptions& what) {
    if (!what.listen.empty())
        return serve(options, what);
    const Metrics metrics = collectMetrics(options, what);
    if (what.output.empty())
        print(metrics.text(MetricsFormat::OpenMetrics));
    else
        replaceFile(what.output, metrics.text(MetricsFormat::Text));
    return Exit::Ok;
}

} // namespace eadm
