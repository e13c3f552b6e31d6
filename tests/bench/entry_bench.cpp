// SPDX-License-Identifier: GPL-2.0-or-later
// How long one entry of the model holds its host's lock, at most: the worst that a guest or a peer can ask for.
#include <cstdio>
#include <ctime>

#include "rig.h"

namespace erdma::test {

namespace {

class Longest {
public:
    template <typename Call> void entry(Call call) {
        const double begin = now();
        call();
        const double took = now() - begin;
        ++entries_;
        total_ += took;
        longest_ = std::max(longest_, took);
    }
    // Turns until there is nothing left to do.
    void settle(std::initializer_list<const Side*> sides) {
        for (bool more = true; more;) {
            more = false;
            for (const Side* side : sides) {
                if (!std::exchange(side->host->scheduled, false))
                    continue;
                more = true;
                entry([&] { side->device->run(); });
            }
        }
    }
    void print(const char* what) const {
        std::printf("%-44s %6u entries, longest %8.1f us, all %8.1f ms\n", what, entries_, longest_, total_ / 1000);
    }

private:
    // Processor time, microseconds: what else runs on the machine does not count.
    static double now() {
        std::timespec t{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
    }

    unsigned entries_ = 0;
    double total_ = 0, longest_ = 0;
};

BenchOptions deep() {
    BenchOptions options;
    options.sqLog = 15;
    options.rqLog = 15;
    options.cqLog = 17;
    options.bufferBytes = 8u << 20;
    return options;
}

void postAll(Bench& t, uint32_t bytes, unsigned most) {
    for (unsigned i = 0; i < most; ++i)
        t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, bytes)}, t.b.stag, t.b.iova));
}

uint64_t doorbell(const Side& side) { return uint64_t{side.qpn} << 32 | (side.guest->qp(side.qpn).sq.pi & 0xFFFF); }

void receives(const Side& side) {
    for (unsigned i = 0; i < 1u << 15; ++i) {
        std::array<std::byte, 32> rqe{};
        storeLe16(rqe, 0, static_cast<uint16_t>(i + 1));
        storeLe32(rqe, 4, side.qpn);
        side.memory().write(side.guest->qp(side.qpn).rq.address + uint64_t{i} * 32, rqe);
    }
}

void flushOfAFullQueuePair() {
    BenchOptions options = deep();
    options.connect = false;
    Bench t(options);
    for (unsigned i = 0; i < 1u << 15; ++i) {
        SqeBytes sqe = localInvSqe(0, 0);
        t.a.guest->putSqe(t.a.qpn, sqe);
    }
    receives(t.a);
    Longest longest;
    longest.entry([&] { t.a.guest->write64(0x5F000, doorbell(t.a)); });
    longest.entry([&] { t.a.guest->write64(kRqDoorbells, uint64_t{t.a.qpn} << 32 | 0x8000); });
    t.a.guest->stage(0, 3, Request().u32(8, static_cast<uint32_t>(QpState::Error) << 24 | t.a.qpn));
    longest.entry([&] { t.a.guest->ringCommands(); });
    longest.settle({&t.a});
    longest.print("MODIFY_QP(ERROR), 65,536 entries to flush");
}

void closingWithData() {
    BenchOptions options = deep();
    options.twoDevices = true;
    Bench t(options);
    postAll(t, 1u << 20, 64);
    Longest longest;
    longest.entry([&] { t.a.guest->write64(0x5F000, doorbell(t.a)); });
    t.a.guest->stage(0, 3, Request().u32(8, static_cast<uint32_t>(QpState::Closing) << 24 | t.a.qpn));
    longest.entry([&] { t.a.guest->ringCommands(); });
    longest.settle({&t.a, &t.b});
    longest.print("MODIFY_QP(CLOSING), 64 MiB of loopback data");
}

void commands() {
    Bench t;
    Longest longest;
    for (unsigned i = 0; i < 128; ++i)
        t.a.guest->stage(0, 0);
    longest.entry([&] { t.a.guest->ringCommands(); });
    longest.settle({&t.a});
    longest.print("128 commands");
}

void largeWrites() {
    BenchOptions options = deep();
    options.twoDevices = true;
    Bench t(options);
    postAll(t, 1u << 20, 256);
    Longest longest;
    longest.entry([&] { t.a.guest->write64(0x5F000, doorbell(t.a)); });
    longest.settle({&t.a, &t.b});
    longest.print("256 MiB of loopback data");
}

void smallWrites() {
    BenchOptions options = deep();
    options.twoDevices = true;
    Bench t(options);
    postAll(t, 8, 10000);
    Longest longest;
    longest.entry([&] { t.a.guest->write64(0x5F000, doorbell(t.a)); });
    longest.settle({&t.a, &t.b});
    longest.print("10,000 small loopback Writes");
}

// Frames of a peer that hold as many empty Sends as they can.
void smallReceives() {
    NicOptions options;
    options.bench = deep();
    options.bench.config.segment_bytes = 65000;
    NicBench t(options);
    receives(t.b);
    Longest longest;
    const auto deliver = t.link.receivers[1];
    t.link.receivers[1] = [&](ConstBytes frame) { longest.entry([&] { deliver(frame); }); };
    longest.entry([&] { t.b.guest->write64(kRqDoorbells, uint64_t{t.b.qpn} << 32 | 0x8000); });
    for (unsigned i = 0; i < 30000; ++i) {
        SqeBytes sqe = sendSqe(Op::Send, i == 29999 ? flag::kSignal : 0, {});
        t.a.guest->putSqe(t.a.qpn, sqe);
    }
    longest.entry([&] { t.a.guest->write64(0x5F000, doorbell(t.a)); });
    t.sent(t.a);
    t.link.receivers[1] = deliver;
    longest.print("30,000 empty Sends in frames of 65,000 octets");
}

// What concerns all connections at once.
void allConnections(uint32_t connections) {
    Rig rig(connections, false, 0);
    Guest& guest = rig.guest(0);
    const std::string behind = ", " + std::to_string(connections) + " connections";
    Longest mtu;
    guest.stage(1, 3, Request().u32(8, 1400));
    mtu.entry([&] { guest.ringCommands(); });
    mtu.print(("CONF_MTU" + behind).c_str());
    rig.machine(0).host.onFrame = nullptr; // keeping the frames is no work of the model
    Longest reset;
    reset.entry([&] { guest.write32(0x10, 1); });
    while (std::exchange(rig.machine(0).host.scheduled, false))
        reset.entry([&] { rig.machine(0).device.run(); });
    reset.print(("RESET" + behind).c_str());
}

} // namespace

} // namespace erdma::test

int main() {
    using namespace erdma::test;
    std::puts("Processor time of the longest entry.  2 ms is the most that the model means to take.");
    commands();
    flushOfAFullQueuePair();
    closingWithData();
    largeWrites();
    smallWrites();
    smallReceives();
    for (const uint32_t connections : {1000u, 10000u, 60000u})
        allConnections(connections);
    return 0;
}
