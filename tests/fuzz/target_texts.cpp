// SPDX-License-Identifier: GPL-2.0-or-later
// What an operator says: properties, impairments and faults.  A text is taken as a whole or not at all, with a reason;
// the adapter says it back in one spelling, which means the same; frames and commands under any of them do no harm.
#include <algorithm>
#include <string>

#include "driver.h"

namespace erdma::fuzz {
namespace {

erdma_config configOf(Input& in) {
    erdma_config config = smallConfig();
    static constexpr std::array members = {&erdma_config::vectors,
                                           &erdma_config::direct_wqe_groups,
                                           &erdma_config::qblock,
                                           &erdma_config::max_cqe_log,
                                           &erdma_config::max_recv_wr_log,
                                           &erdma_config::max_mr_size_log,
                                           &erdma_config::default_cc,
                                           &erdma_config::pair_timeout_ms,
                                           &erdma_config::rnr_hold_ms,
                                           &erdma_config::ord,
                                           &erdma_config::ird,
                                           &erdma_config::segment_bytes,
                                           &erdma_config::buffer_bytes,
                                           &erdma_config::ack_delay_ms,
                                           &erdma_config::ack_segments,
                                           &erdma_config::rto_min_ms,
                                           &erdma_config::give_up_ms,
                                           &erdma_config::keep_idle_ms,
                                           &erdma_config::keep_interval_ms,
                                           &erdma_config::keep_probes,
                                           &erdma_config::first_fpdu_ms,
                                           &erdma_config::time_wait_ms,
                                           &erdma_config::firmware_version};
    for (uint32_t n = in.below(4); n > 0; --n) {
        const uint32_t value = in.below(2) == 0 ? in.u8() : in.edge32();
        config.*in.pick(members) = value;
    }
    return config;
}

std::string textOf(Input& in) {
    static constexpr std::array<const char*, 47> words = {
        "to-wire:", "to-guest:", "both:",      "loss=",  "duplicate=", "corrupt=",  "reorder=",  "delay=",
        "jitter=",  "rate=",     "cut",        "seed=",  "%",          "ns",        "us",        "ms",
        "s",        "kbit",      "mbit",       "gbit",   ";",          ",",         "100",       "0",
        "1",        "60",        ".",          "0.0001", "cmd-drop=",  "cmd-fail=", "cmd-slow=", "irq-lose=",
        "db-lose=", "post=",     "init-stuck", "dead",   "any",        "/",         ":",         "*",
        "+",        "sq",        "rq",         "cq1",    "eq1",        "aeq",       "cmd"};
    static constexpr std::array<const char*, 13> chosen = {
        "drop=", "ecn=",         "data", "ack", "retransmission", "/conn=", "/opcode=", "/msn=", "send",
        "write", "read-request", "#",    "-"};
    std::string out;
    for (uint32_t n = in.below(24); n > 0; --n) {
        const uint8_t how = in.u8();
        if (how < 4 * words.size())
            out += words[how % words.size()];
        else if (how < 0xE0)
            out += chosen[how % chosen.size()];
        else if (how < 0xF0)
            out += std::to_string(in.u32());
        else
            out += static_cast<char>(std::max<uint8_t>(1, in.u8()));
    }
    return out;
}

// A text that means the same to whoever reads it.
void sayBack(Machine& machine, bool link, const std::string& text) {
    const auto now = [&] {
        return std::string(link ? erdma_dev_link(machine.device()) : erdma_dev_faults(machine.device()));
    };
    const std::string before = now();
    if (!(link ? machine.setLink(text.c_str()) : machine.setFaults(text.c_str()))) {
        FUZZ_CHECK(now() == before, "a text that was refused changed something");
        return;
    }
    const std::string said = now();
    FUZZ_CHECK(std::ranges::all_of(said, [](char c) { return c >= ' ' && c <= '~'; }), "a text that cannot be printed");
    FUZZ_CHECK(link ? machine.setLink(said.c_str()) : machine.setFaults(said.c_str()), "its own text is refused");
    FUZZ_CHECK(now() == said, "its own text means something else");
}

void command(Input& in, Driver& driver) {
    const auto sub = static_cast<uint8_t>(in.below(2));
    const auto opcode = static_cast<uint8_t>(in.below(12));
    driver.stage(sub, opcode, Request().u32(8, 1));
    driver.ringCommands();
}

void play(Input& in) {
    uint64_t clock = 1'000'000'000;
    Machine machine(0, configOf(in), clock);
    if (!machine.alive())
        return;
    uint64_t sent = 0, seen = 0;
    machine.onFrame = [&](erdma_side, ConstBytes) { ++seen; };
    Driver driver(machine);
    if ((in.u8() & 1) != 0) {
        driver.bringUp();
        driver.createEq(1);
        driver.createCq(1, 4);
    }
    for (int step = 0; step < 32 && !in.empty(); ++step) {
        switch (in.below(6)) {
        case 0:
        case 1:
            sayBack(machine, true, textOf(in));
            break;
        case 2:
        case 3:
            sayBack(machine, false, textOf(in));
            break;
        case 4: {
            std::array<std::byte, 64> frame{};
            const auto octets = in.fewOctets(64);
            std::copy(octets.begin(), octets.end(), frame.begin());
            const erdma_side side = in.below(2) == 0 ? ERDMA_TO_WIRE : ERDMA_TO_GUEST;
            for (uint32_t n = in.below(8); n > 0; --n)
                if (machine.frame(side, frame))
                    ++sent;
            machine.framesEnd();
            break;
        }
        default:
            clock += uint64_t{1} << in.below(38);
            machine.settle(8);
            command(in, driver);
            break;
        }
    }
    // A clean link delivers what is still under way, each frame twice at most.
    machine.setLink("");
    for (int i = 0; i < 64 && machine.timerAt != ERDMA_TIMER_OFF; ++i) {
        clock = std::max(clock, machine.timerAt);
        machine.settle(4);
    }
    FUZZ_CHECK(seen <= 2 * sent, "frames out of nothing");
    machine.destroy();
}

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}
