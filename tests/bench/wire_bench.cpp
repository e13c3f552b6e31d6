// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters with their filters and an in-memory link between them: what a message costs, on one core that does the
// work of both ends.
#include <benchmark/benchmark.h>

#include "checker.h"
#include "rig.h"

namespace erdma::test {

namespace {

constexpr unsigned kBatch = 32;

// Arguments: octets of a Write, CRC, long segments.
void writes(benchmark::State& state) {
    const auto bytes = static_cast<uint32_t>(state.range(0));
    Rig rig(1, state.range(1) != 0, state.range(2) != 0 ? 65000 : 0);
    for (auto _ : state) {
        for (unsigned i = 1; i <= kBatch; ++i)
            rig.write(1, bytes, i == kBatch);
        rig.ring(1);
        if (!rig.finish()) {
            state.SkipWithError("no completion");
            break;
        }
    }
    state.SetBytesProcessed(state.iterations() * kBatch * bytes);
    state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(writes)->ArgNames({"octets", "crc", "long"})->ArgsProduct({{64, 4096, 65536, 1 << 20}, {0, 1}, {0, 1}});

// A doorbell for each, as programs that post one by one; how many frames there were, both ways.
void oneByOne(benchmark::State& state) {
    Rig rig(1, false, state.range(0) != 0 ? 65000 : 0);
    const uint64_t before = rig.frames();
    for (auto _ : state) {
        for (unsigned i = 1; i <= kBatch; ++i) {
            rig.write(1, 64, i == kBatch);
            rig.ring(1);
        }
        if (!rig.finish()) {
            state.SkipWithError("no completion");
            break;
        }
    }
    state.SetItemsProcessed(state.iterations() * kBatch);
    state.counters["frames per message"] =
        static_cast<double>(rig.frames() - before) / static_cast<double>(state.iterations() * kBatch);
}
BENCHMARK(oneByOne)->ArgName("long")->Arg(0)->Arg(1);

// One message at a time: the way there and back.
void pingPong(benchmark::State& state) {
    Rig rig(1, false, 0);
    for (auto _ : state) {
        rig.write(1, 64, true);
        rig.ring(1);
        if (!rig.finish()) {
            state.SkipWithError("no completion");
            break;
        }
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(pingPong);

// Writes over loopback with check mode off and on: what looking costs.  Nothing is held back, which costs waiting only.
void checked(benchmark::State& state) {
    const auto octets = static_cast<uint32_t>(state.range(0));
    std::unique_ptr<check::Checker> checker; // outlives the adapter
    Bench t({.ofProcess = true});
    if (state.range(1) != 0) {
        checker = std::make_unique<check::Checker>(t.machine(0).device.adapter());
        checker->start({.mostDelayNs = 0});
    }
    for (auto _ : state) {
        t.post(t.a, writeSqe(Op::Write, flag::kSignal, {t.a.sge(0, octets)}, t.b.stag, t.b.iova));
        if (!t.a.sent())
            state.SkipWithError("no completion");
    }
    state.SetBytesProcessed(state.iterations() * int64_t{octets});
    if (checker && checker->findings().count(check::Severity::Error) != 0)
        state.SkipWithError("findings");
}
BENCHMARK(checked)->ArgNames({"octets", "check"})->ArgsProduct({{64, 4096, 65536}, {0, 1}});

// The same work while that many other connections are open.
void amongOthers(benchmark::State& state) {
    const auto connections = static_cast<uint32_t>(state.range(0));
    Rig rig(connections, false, 0);
    uint32_t qpn = 0;
    for (auto _ : state) {
        qpn = qpn % connections + 1;
        for (unsigned i = 1; i <= kBatch; ++i)
            rig.write(qpn, 64, i == kBatch);
        rig.ring(qpn);
        if (!rig.finish()) {
            state.SkipWithError("no completion");
            break;
        }
    }
    state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(amongOthers)->ArgName("connections")->Arg(1)->Arg(100)->Arg(1000)->Arg(10000);

} // namespace

} // namespace erdma::test

BENCHMARK_MAIN();
