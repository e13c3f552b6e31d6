// SPDX-License-Identifier: GPL-2.0-or-later
// eadm: what the Elastic RDMA Adapter is, what it is doing, and why a connection is slow or broken.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "commands.h"

namespace {

using eadm::Exit;

constexpr const char* kExamples = R"(Examples:
  eadm dev                     adapters with state, interface and firmware
  eadm doctor                  what is wrong and what to do about it
  eadm info qp                 queue pairs; with a number: everything about one
  eadm stat -d erdma_0 -l      rates once a second until interrupted
  eadm info cep -j             connection endpoints as JSON
  eadm dump sq 17 0-15         the first 16 blocks of a send queue (root)
  eadm conf cc 1               congestion control of new queue pairs (root)

Exit codes: 0 good, 1 doctor found something, 2 wrong usage, 3 no driver, 4 no
such adapter, 5 no such object, 6 not permitted, 7 the adapter or driver failed.
eadm(8) says more.)";

struct Line {
    eadm::Options options;
    eadm::StatOptions stat;
    eadm::DumpOptions dump;
    std::string kind, setting, value;
    std::optional<uint64_t> number;
    double seconds = 0;
};

// The first word that is no option says which command is meant; one that nobody knows gets a suggestion.
void checkCommand(int argc, char** argv, const std::vector<std::string>& known) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "-d" || word == "--device") {
            ++i;
            continue;
        }
        if (word.starts_with('-'))
            continue;
        if (std::ranges::find(known, word) != known.end())
            return;
        const std::string close = eadm::nearest(word, known);
        throw eadm::Error(Exit::Usage, fmt::format("there is no command '{}'{}; eadm --help lists them", word,
                                                   close.empty() ? "" : fmt::format(", did you mean '{}'?", close)));
    }
}

int run(int argc, char** argv) {
    Line line;
    CLI::App app{"Shows and examines Elastic RDMA Adapters.", "eadm"};
    app.require_subcommand(1);
    app.fallthrough();
    app.footer(kExamples);
    app.set_version_flag("-V,--version", std::string(EADM_VERSION));
    app.add_option("-d,--device", line.options.device, "RDMA device or PCI address; not needed with one adapter")
        ->type_name("DEVICE");
    app.add_flag("-j,--json", line.options.json, "JSON instead of text");

    auto* ver = app.add_subcommand("ver", "versions of eadm, driver and firmware");
    auto* dev = app.add_subcommand("dev", "adapters; with -d everything about one");
    auto* info = app.add_subcommand("info", "objects of an adapter; with a number everything about one");
    info->add_option("kind", line.kind, "qp, cq, eq, mr, pd, ctx or cep")->required()->type_name("KIND");
    info->add_option("number", line.number, "which one")->type_name("N");
    auto* stat = app.add_subcommand("stat", "counters, or with -l their rates");
    std::vector<std::string> live; // empty words stand for "no interval given"
    auto* liveOption = stat->add_option("-l,--live", live, "again and again, every so many seconds (default 1)")
                           ->expected(0, 1)
                           ->type_name("[SECONDS]");
    stat->add_option("-n,--count", line.stat.rounds, "stop after so many rounds")->type_name("N");
    stat->add_flag("-x,--explain", line.stat.explain, "say what each counter counts");
    auto* dump = app.add_subcommand("dump", "decoded entries of a ring (root)");
    dump->add_option("ring", line.dump.ring, "sq, rq, cq, eq, cmdq or cmdcq")->required()->type_name("RING");
    std::vector<std::string> dumpWords;
    dump->add_option("number", dumpWords, "QP, CQ or EQ; slots")->type_name("[N] [INDEX[-INDEX]]")->expected(0, 2);
    dump->add_flag("-x,--hex", line.dump.hex, "the bytes too");
    auto* conf = app.add_subcommand("conf", "settings; with a value changes one (root)");
    conf->add_option("name", line.setting, "which one")->type_name("NAME");
    conf->add_option("value", line.value, "new value")->type_name("VALUE");

    auto* trace = app.add_subcommand("trace", "commands, connections, states and events as they happen (root)");
    trace->add_option("seconds", line.seconds, "stop after so long")->type_name("SECONDS");
    auto* doctor = app.add_subcommand("doctor", "what is wrong and what to do about it");

    try {
        std::vector<std::string> known;
        for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
            known.push_back(command->get_name());
        checkCommand(argc, argv, known);
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? static_cast<int>(Exit::Ok) : static_cast<int>(Exit::Usage);
    }
    line.options.colour = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;

    Exit exit = Exit::Usage;
    if (ver->parsed()) {
        exit = eadm::showVersion(line.options);
    } else if (dev->parsed()) {
        exit = eadm::showDevices(line.options);
    } else if (info->parsed()) {
        exit = eadm::showInfo(line.options, line.kind, line.number);
    } else if (stat->parsed()) {
        line.stat.live = liveOption->count() != 0;
        if (!live.empty() && !live.front().empty() && !CLI::detail::lexical_cast(live.front(), line.stat.seconds))
            throw eadm::Error(Exit::Usage, fmt::format("'{}' is not a number of seconds", live.front()));
        if (!(line.stat.seconds >= 0.1 && line.stat.seconds <= 86400))
            throw eadm::Error(Exit::Usage, "the interval must be 0.1 to 86400 seconds");
        exit = eadm::showStatistics(line.options, line.stat);
    } else if (dump->parsed()) {
        const bool command = line.dump.ring.starts_with("cmd");
        if (!command && !dumpWords.empty()) {
            uint32_t number = 0;
            if (!CLI::detail::lexical_cast(dumpWords.front(), number))
                throw eadm::Error(Exit::Usage, fmt::format("'{}' is not a number", dumpWords.front()));
            line.dump.number = number;
            dumpWords.erase(dumpWords.begin());
        }
        if (!dumpWords.empty())
            line.dump.range = dumpWords.front();
        exit = eadm::dumpRing(line.options, line.dump);
    } else if (conf->parsed()) {
        exit = eadm::configure(line.options, line.setting, line.value);
    } else if (trace->parsed()) {
        exit = eadm::followTrace(line.options, line.seconds);
    } else if (doctor->parsed()) {
        exit = eadm::examine(line.options);
    }
    return static_cast<int>(exit);
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const eadm::Error& error) {
        std::fputs(fmt::format("eadm: {}\n", error.what()).c_str(), stderr);
        return static_cast<int>(error.exit());
    } catch (const std::exception& error) {
        std::fputs(fmt::format("eadm: {}\n", error.what()).c_str(), stderr);
        return static_cast<int>(Exit::Failed);
    }
}
