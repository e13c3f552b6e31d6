// SPDX-License-Identifier: GPL-2.0-or-later
// eadm: what the Elastic RDMA Adapter is, what it is doing, and why a connection is slow or broken.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
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
  eadm top --by process        who does how much, again and again
  eadm stat -d erdma_0 -l      rates once a second until interrupted
  eadm info cep -j             connection endpoints as JSON
  eadm dump sq 17 0-15         the first 16 blocks of a send queue (root)
  eadm conf cc cubic           congestion control of new queue pairs (root)

Exit codes: 0 good, 1 doctor found something, 2 wrong usage, 3 no driver, 4 no
such adapter, 5 no such object, 6 not permitted, 7 the adapter or driver failed,
8 doctor could not examine everything.  eadm(8) says more.)";

struct Line {
    eadm::Options options;
    eadm::StatOptions stat;
    eadm::TopOptions top;
    eadm::RecordOptions record;
    eadm::PlotOptions plot;
    eadm::DumpOptions dump;
    eadm::ListOptions list;
    eadm::DoctorOptions doctor;
    eadm::MetricsOptions metrics;
    eadm::SnapshotOptions snapshot;
    std::string kind, setting, value, seconds, before, now;
    std::optional<uint64_t> number;
};

// Options of all commands that take the word behind them.
constexpr std::string_view kWithValue[] = {"-d", "--device", "-w", "--watch", "-n", "--count", "--from"};

// The first word that is no option says which command is meant; one that nobody knows gets a suggestion.
void checkCommand(int argc, char** argv, const std::vector<std::string>& known) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (std::ranges::find(kWithValue, word) != std::end(kWithValue)) {
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

// The exit code of what fails.  Monitoring systems take 2 for "critical" and know nothing above 3, "unknown".
int failure(int argc, char** argv, Exit exit) {
    constexpr int unknown = 3;
    const bool check =
        std::any_of(argv, argv + argc, [](const char* word) { return std::string_view(word) == "--check"; });
    return check ? unknown : static_cast<int>(exit);
}

// Which rows of a list, and in which order.
void addFilters(CLI::App* command, eadm::ListOptions& list) {
    command->add_option("--pid", list.pid, "only of this process")->type_name("PID");
    command->add_option("--comm", list.comm, "only of programs of this name")->type_name("PATTERN");
    command->add_option("--local", list.local, "only with this end here")->type_name("ADDRESS[:PORT]");
    command->add_option("--peer", list.peer, "only with this end there")->type_name("ADDRESS[:PORT]");
    command->add_option("--state", list.state, "only in this state")->type_name("STATE");
    command->add_option("--sort", list.sort, "by this field; with - before it the largest first")->type_name("FIELD");
    command->add_option("--limit", list.limit, "at most so many")->type_name("N");
}

// How often a command is repeated.
struct Repeat {
    std::string interval; // seconds between two rounds; empty: once
    std::string count;    // rounds; empty: until interrupted
    bool quiet = false;   // nothing is printed
};

double intervalOf(const std::string& text) {
    const double seconds = eadm::numberOf(text, "seconds");
    if (!(seconds >= 0.1 && seconds <= 86400))
        throw eadm::Error(Exit::Usage, "the interval must be 0.1 to 86400 seconds");
    return seconds;
}

uint64_t roundsOf(const std::string& text) {
    const uint64_t rounds = text.empty() ? 0 : eadm::wholeNumberOf(text, "rounds");
    if (!text.empty() && rounds == 0)
        throw eadm::Error(Exit::Usage, "there must be at least one round");
    return rounds;
}

// The command once, or again and again; the exit code is that of the last round.
int repeated(const Line& line, const Repeat& repeat, const std::function<int(const eadm::Options&)>& command) {
    if (repeat.interval.empty()) {
        if (!repeat.count.empty())
            throw eadm::Error(Exit::Usage, "--count goes with --watch, or with --live of stat");
        return command(line.options);
    }
    const double seconds = intervalOf(repeat.interval);
    const uint64_t rounds = roundsOf(repeat.count);
    eadm::Options options = line.options;
    options.line = true;
    eadm::stopOnSignals();
    int exit = 0;
    for (uint64_t round = 0; (rounds == 0 || round < rounds) && !eadm::stopped(); ++round) {
        if (round != 0)
            eadm::sleepFor(seconds);
        if (eadm::stopped())
            break;
        if (options.json || repeat.quiet)
            ; // nothing but what the command says
        else if (options.terminal)
            eadm::print("\033[H\033[J");
        else
            eadm::print(fmt::format("{}{}\n", round == 0 ? "" : "\n", eadm::timeText()));
        exit = command(options);
    }
    return exit;
}

int run(int argc, char** argv) {
    Line line;
    Repeat repeat;
    CLI::App app{"Shows and examines Elastic RDMA Adapters.", "eadm"};
    app.require_subcommand(1);
    app.fallthrough();
    app.footer(kExamples);
    app.set_version_flag("-V,--version", std::string(EADM_VERSION));
    app.add_option("-d,--device", line.options.device, "RDMA device or PCI address; not needed with one adapter")
        ->type_name("DEVICE");
    app.add_option("--from", line.options.from, "what eadm snapshot wrote instead of this machine")->type_name("FILE");
    app.add_flag("-j,--json", line.options.json, "JSON instead of text");
    auto* watch = app.add_option("-w,--watch", repeat.interval, "again and again, every so many seconds");
    watch->type_name("SECONDS");
    app.add_option("-n,--count", repeat.count, "stop after so many rounds")->type_name("N");

    auto* ver = app.add_subcommand("ver", "versions of eadm, driver and firmware");
    auto* dev = app.add_subcommand("dev", "adapters; with -d everything about one");
    auto* info = app.add_subcommand("info", "objects of an adapter; with a number everything about one");
    info->add_option("kind", line.kind, "qp, cq, eq, mr, pd, ctx or cep")->required()->type_name("KIND");
    info->add_option("number", line.number, "which one")->type_name("N");
    addFilters(info, line.list);
    auto* stat = app.add_subcommand("stat", "counters, or with -l their rates");
    std::vector<std::string> live; // an empty word stands for "no interval given"
    auto* liveOption = stat->add_option("-l,--live", live, "rates, every so many seconds (default 1)")
                           ->expected(0, 1)
                           ->type_name("[SECONDS]")
                           ->excludes(watch);
    stat->add_flag("-x,--explain", line.stat.explain, "say what each counter counts");
    auto* top = app.add_subcommand("top", "who does how much now, again and again");
    top->add_option("--by", line.top.by, "connection, process or adapter")->type_name("GROUP");
    addFilters(top, line.top.list);
    auto* record = app.add_subcommand("record", "what goes on, into a file for plot");
    std::string recordSeconds, recordEvery;
    record->add_option("-s,--seconds", recordSeconds, "for so long (default 60)")->type_name("SECONDS");
    record->add_option("--every", recordEvery, "how often to look (default 1)")->type_name("SECONDS");
    record->add_option("file", line.record.file, "which is made or replaced")->required()->type_name("FILE");
    auto* plot = app.add_subcommand("plot", "charts of a recording, as one page of HTML");
    plot->add_option("file", line.plot.file, "what record wrote")->required()->type_name("FILE");
    plot->add_option("-o,--output", line.plot.output, "write here")->type_name("FILE");
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
    std::string doctorSeconds;
    doctor->add_option("-s,--seconds", doctorSeconds, "watch for so long")->type_name("SECONDS");
    doctor->add_option("--config", line.doctor.config, "thresholds")->type_name("FILE");
    bool check = false;
    doctor->add_flag("--check", check, "one line and exit code for monitoring systems");

    auto* metrics = app.add_subcommand("metrics", "what counts, for Prometheus and its relatives");
    metrics->add_flag("--qps", line.metrics.qps, "each connected queue pair too");
    metrics->add_flag("--owners", line.metrics.owners, "with process, user and program of each");
    metrics->add_flag("--doctor", line.metrics.findings, "what doctor finds too, which takes as long as that");
    metrics->add_option("-s,--seconds", doctorSeconds, "let doctor watch for so long")->type_name("SECONDS");
    metrics->add_option("--config", line.doctor.config, "thresholds of doctor")->type_name("FILE");
    auto* output = metrics->add_option("-o,--output", line.metrics.output, "replace this file, for node_exporter");
    output->type_name("FILE");
    metrics->add_option("--listen", line.metrics.listen, "answer HTTP; without an address only from here")
        ->type_name("[ADDRESS:]PORT")
        ->excludes(output)
        ->excludes(watch);

    auto* snapshot = app.add_subcommand("snapshot", "all of this in a file, for a support case");
    snapshot->add_option("file", line.snapshot.file, "which is made or replaced")->required()->type_name("FILE");
    snapshot->add_flag("--mask", line.snapshot.mask, "put other addresses in the place of all");
    snapshot->add_option("-s,--seconds", doctorSeconds, "watch for so long")->type_name("SECONDS");
    auto* diff = app.add_subcommand("diff", "what is different between two snapshots");
    diff->add_option("before", line.before, "the earlier one")->required()->type_name("FILE");
    diff->add_option("now", line.now, "the later one")->required()->type_name("FILE");

    try {
        std::vector<std::string> known;
        for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
            known.push_back(command->get_name());
        checkCommand(argc, argv, known);
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : failure(argc, argv, Exit::Usage);
    }
    line.options.terminal = isatty(STDOUT_FILENO) != 0;
    line.options.colour = line.options.terminal && std::getenv("NO_COLOR") == nullptr;
    const auto code = [](Exit exit) { return static_cast<int>(exit); };

    if (!line.options.from.empty() && trace->parsed())
        throw eadm::Error(Exit::Usage, "trace shows what happens now; leave out --from");
    if (trace->parsed()) {
        if (watch->count() != 0)
            throw eadm::Error(Exit::Usage, "trace goes on by itself; it takes no --watch");
        return code(
            eadm::followTrace(line.options, line.seconds.empty() ? 0 : eadm::numberOf(line.seconds, "seconds")));
    }
    if (stat->parsed() && liveOption->count() != 0) {
        line.stat.live = true;
        if (!live.empty() && !live.front().empty())
            line.stat.seconds = intervalOf(live.front());
        line.stat.rounds = roundsOf(repeat.count);
        return code(eadm::showStatistics(line.options, line.stat));
    }
    if (top->parsed()) {
        if (watch->count() != 0)
            line.top.seconds = intervalOf(repeat.interval);
        line.top.rounds = roundsOf(repeat.count);
        return code(eadm::showTop(line.options, line.top));
    }
    if (record->parsed() || plot->parsed()) {
        if (!line.options.from.empty() || watch->count() != 0)
            throw eadm::Error(Exit::Usage, "record and plot take neither --from nor --watch");
        if (plot->parsed() && line.options.json)
            throw eadm::Error(Exit::Usage, "a plot is a page; leave out --json");
        if (plot->parsed())
            return code(eadm::plotActivity(line.plot));
        if (!recordSeconds.empty())
            line.record.seconds = intervalOf(recordSeconds);
        if (!recordEvery.empty())
            line.record.every = intervalOf(recordEvery);
        return code(eadm::recordActivity(line.options, line.record));
    }
    if (dump->parsed()) {
        if (!line.dump.ring.starts_with("cmd") && !dumpWords.empty()) {
            const uint64_t number = eadm::wholeNumberOf(dumpWords.front(), "a queue");
            if (number > UINT32_MAX)
                throw eadm::Error(Exit::Usage, fmt::format("'{}' is not a number of a queue", dumpWords.front()));
            line.dump.number = static_cast<uint32_t>(number);
            dumpWords.erase(dumpWords.begin());
        }
        if (!dumpWords.empty())
            line.dump.range = dumpWords.front();
    }
    if (conf->parsed() && !line.value.empty() && watch->count() != 0)
        throw eadm::Error(Exit::Usage, "a setting is changed once; leave out --watch");
    if (!doctorSeconds.empty())
        line.doctor.seconds = intervalOf(doctorSeconds);
    line.metrics.doctor = line.snapshot.doctor = line.doctor;
    if (!line.options.from.empty() && (snapshot->parsed() || diff->parsed()))
        throw eadm::Error(Exit::Usage, "this takes no --from");
    if (metrics->parsed() && line.options.json)
        throw eadm::Error(Exit::Usage, "metrics have a format of their own; leave out --json");
    repeat.quiet = metrics->parsed();
    if (repeat.quiet && watch->count() != 0 && line.metrics.output.empty())
        throw eadm::Error(Exit::Usage, "metrics are written again and again to a file only; add --output");
    if (check && (line.options.json || watch->count() != 0))
        throw eadm::Error(Exit::Usage, "--check prints one line, once; leave out --json and --watch");

    return repeated(line, repeat, [&](const eadm::Options& options) {
        if (metrics->parsed())
            return code(eadm::showMetrics(options, line.metrics));
        if (snapshot->parsed())
            return code(eadm::takeSnapshot(options, line.snapshot));
        if (diff->parsed())
            return code(eadm::compareSnapshots(options, line.before, line.now));
        if (ver->parsed())
            return code(eadm::showVersion(options));
        if (dev->parsed())
            return code(eadm::showDevices(options));
        if (info->parsed())
            return code(eadm::showInfo(options, line.kind, line.number, line.list));
        if (stat->parsed())
            return code(eadm::showStatistics(options, line.stat));
        if (dump->parsed())
            return code(eadm::dumpRing(options, line.dump));
        if (conf->parsed())
            return code(eadm::configure(options, line.setting, line.value));
        return check ? eadm::check(options, line.doctor) : code(eadm::examine(options, line.doctor));
    });
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const eadm::Error& error) {
        std::fputs(fmt::format("eadm: {}\n", error.what()).c_str(), stderr);
        return failure(argc, argv, error.exit());
    } catch (const std::exception& error) {
        std::fputs(fmt::format("eadm: {}\n", error.what()).c_str(), stderr);
        return failure(argc, argv, Exit::Failed);
    }
}
