// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters on a simulated link, whose time goes on from event to event.
#pragma once

#include "pair_bench.h"
#include "wire_link.h"

namespace erdma::test {

class TimedBench {
public:
    TimedBench(const BenchOptions& options, uint32_t seed)
        : link(seed), bench(apart(options)), a(bench.a), b(bench.b) {}
    virtual ~TimedBench() = default;

    // Until `done`, or for `limit` of simulated time; returns what `done` says then.
    bool run(const std::function<bool()>& done, uint64_t limit = 1000'000 * kMs) {
        const uint64_t end = link.now + limit;
        settle();
        while (!done()) {
            const uint64_t next = std::min({link.due(), a.host->timerAt, b.host->timerAt, timerAt()});
            if (next > end) {
                link.now = end;
                tick();
                return done();
            }
            link.now = std::max(link.now, next);
            tick();
            work();
            settle();
        }
        return true;
    }
    void runFor(uint64_t time) {
        run([] { return false; }, time);
    }
    // What is to be done without time passing.
    virtual void settle() { bench.settle(); }
    std::optional<Cqe> sent(const Side& side) {
        std::optional<Cqe> cqe;
        run([&] { return (cqe = side.sent()).has_value(); }, 100'000 * kMs);
        return cqe;
    }
    std::optional<Cqe> received(const Side& side) {
        std::optional<Cqe> cqe;
        run([&] { return (cqe = side.received()).has_value(); }, 100'000 * kMs);
        return cqe;
    }

private:
    static BenchOptions apart(BenchOptions options) {
        options.twoDevices = true;
        options.connect = false;
        return options;
    }

protected:
    // The next timer of what is neither link nor device.
    virtual uint64_t timerAt() const = 0;
    // What is due now.
    virtual void work() = 0;
    void tick() { a.host->clock = b.host->clock = link.now; }

public:
    SimulatedLink link;
    Bench bench;
    Side &a, &b;
};

} // namespace erdma::test
