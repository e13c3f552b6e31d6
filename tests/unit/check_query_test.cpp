// SPDX-License-Identifier: GPL-2.0-or-later
// QUERY_CHECK (docs/capabilities.md): what the model says of check mode, and what the driver believes of it.
#include "checker.h"
#include "hw_layout.h"
#include "pair_bench.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "src/erdma_check.h"
}
#pragma GCC diagnostic pop

namespace erdma::test {
namespace {

using check::Checker;
using check::Kind;

constexpr uint8_t kSub = ERDMA_SUB_COMMON;
constexpr uint8_t kQueryCheck = ERDMA_CMD_QUERY_CHECK;
constexpr uint8_t kNever = 0xEE; // in memory that nothing was written to

class QueryBench : public Bench {
public:
    QueryBench() : Bench({.ofProcess = true}), checker(std::make_unique<Checker>(machine().device.adapter())) {
        target = a.memory().allocate(4096);
    }
    ~QueryBench() { dropMachine(0); } // before who watches it

    uint32_t ask(uint32_t index, uint64_t address, uint32_t room) {
        return a.guest->status(kSub, kQueryCheck, Request().u32(12, index).u64(16, address).u32(24, room));
    }
    erdma_check query(uint32_t index) {
        a.memory().write(target, std::vector<std::byte>(512, std::byte{kNever}));
        EXPECT_EQ(ask(index, target, ERDMA_STATS_BYTES), 0u);
        const auto raw = a.memory().copy(target, 512);
        erdma_check answer{};
        std::memcpy(&answer, raw.data(), sizeof(answer));
        EXPECT_EQ(answer.head.magic, ERDMA_DUMP_MAGIC);
        EXPECT_EQ(answer.head.len, sizeof(answer));
        EXPECT_EQ(answer.head.index, index);
        EXPECT_EQ(raw[sizeof(answer)], std::byte{kNever});
        return answer;
    }
    // A send from memory of a region that never was.
    void useUnknownKey(const Side& side) {
        post(side, sendSqe(Op::Send, flag::kSignal, {{side.iova, 16, 0x00077700}}));
        for (int i = 0; i < 40; ++i)
            advanceMs(1);
    }

    std::unique_ptr<Checker> checker;
    uint64_t target = 0;
};

void expectEmpty(const erdma_check& answer) {
    const auto raw = bytesOf(answer);
    EXPECT_TRUE(std::ranges::all_of(raw.subspan(24), [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(answer.severity, 0u);
    EXPECT_EQ(answer.flags, 0u);
}

TEST(QueryCheck, OffUntilItIsOn) {
    QueryBench t;
    for (const uint32_t index : {0u, 1u, UINT32_MAX}) {
        const erdma_check answer = t.query(index);
        EXPECT_EQ(answer.on, 0u);
        EXPECT_EQ(answer.total, 0u);
        expectEmpty(answer);
    }
    t.checker->start({});
    EXPECT_EQ(t.query(0).on, 1u);
    EXPECT_EQ(t.query(0).total, 0u);
    expectEmpty(t.query(0));
}

TEST(QueryCheck, TellsWhatWasFound) {
    QueryBench t;
    t.checker->start({});
    t.useUnknownKey(t.a);
    const erdma_check answer = t.query(0);
    EXPECT_EQ(answer.on, 1u);
    ASSERT_EQ(answer.total, 1u) << t.checker->report();
    const check::Finding* found = t.checker->findings().find(Kind::StaleKey);
    ASSERT_NE(found, nullptr);
    EXPECT_STREQ(reinterpret_cast<const char*>(answer.id), "stale-key");
    EXPECT_STREQ(reinterpret_cast<const char*>(answer.advice), check::factsOf(Kind::StaleKey).advice);
    EXPECT_EQ(answer.severity, ERDMA_FINDING_ERROR);
    EXPECT_EQ(answer.qpn, t.a.qpn);
    EXPECT_EQ(answer.cqn, 0u);
    EXPECT_EQ(answer.count, found->count);
    EXPECT_EQ(answer.flags, 0u);
    const uint64_t now = t.a.host->nowNs();
    EXPECT_EQ(answer.first_ns, now - found->firstNs);
    EXPECT_EQ(answer.last_ns, now - found->lastNs);
    EXPECT_GT(answer.last_ns, 0u);
    // Behind the last one there is only the state.
    for (const uint32_t index : {1u, 256u, UINT32_MAX}) {
        EXPECT_EQ(t.query(index).total, 1u);
        expectEmpty(t.query(index));
    }
    t.checker->stop();
    EXPECT_EQ(t.query(0).on, 0u);
    EXPECT_EQ(t.query(0).total, 0u);
    expectEmpty(t.query(0));
    t.checker->start({}); // forgets
    EXPECT_EQ(t.query(0).on, 1u);
    EXPECT_EQ(t.query(0).total, 0u);
}

TEST(QueryCheck, NeverWritesMoreThanTheTarget) {
    QueryBench t;
    t.checker->start({});
    t.useUnknownKey(t.a);
    for (const uint32_t room : {16u, 17u, 55u, 247u, 248u, 249u, UINT32_MAX}) {
        t.a.memory().write(t.target, std::vector<std::byte>(512, std::byte{kNever}));
        EXPECT_EQ(t.ask(0, t.target, room), 0u) << room;
        const auto raw = t.a.memory().copy(t.target, 512);
        for (size_t at = std::min<size_t>(room, sizeof(erdma_check)); at < raw.size(); ++at)
            ASSERT_EQ(raw[at], std::byte{kNever}) << room << " " << at;
    }
    for (const uint32_t room : {0u, 15u})
        EXPECT_EQ(t.ask(0, t.target, room), uint32_t{EINVAL});
    EXPECT_EQ(t.ask(0, t.a.host->memory->ramBytes, 256), uint32_t{EFAULT});
    EXPECT_EQ(t.ask(0, UINT64_MAX - 7, UINT32_MAX), uint32_t{EFAULT});
}

// An index means the same finding whatever is found meanwhile, so pages of a list fit together.
TEST(QueryCheck, IndicesStay) {
    check::Findings findings;
    check::Place place;
    for (uint32_t i = 0; i < 300; ++i) {
        place.qpn = 1000 - i; // sorted the other way round
        findings.add(i % 2 != 0 ? Kind::StaleKey : Kind::NoInline, place, i, "");
    }
    ASSERT_EQ(findings.size(), check::Findings::kMost);
    for (uint32_t i = 0; i < findings.size(); ++i) {
        const FoundFacts facts = findings.facts(i);
        EXPECT_EQ(facts.qpn, 1000 - i);
        EXPECT_EQ(facts.firstNs, i);
        EXPECT_EQ(facts.severity, i % 2 != 0 ? ERDMA_FINDING_ERROR : ERDMA_FINDING_ADVICE);
    }
    findings.clear();
    EXPECT_EQ(findings.size(), 0u);
}

TEST(QueryCheck, QueuesThatAreGone) {
    QueryBench t;
    t.checker->start({});
    t.useUnknownKey(t.a);
    EXPECT_EQ(t.query(0).flags, 0u);
    ASSERT_TRUE(t.a.guest->destroyQp(t.b.qpn).ok());
    EXPECT_EQ(t.query(0).flags, 0u);
    ASSERT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
    EXPECT_EQ(t.query(0).flags, ERDMA_CHECK_GONE);

    check::Findings findings;
    check::Place cq, qp;
    cq.cqn = qp.qpn = 7;
    qp.kernel = true;
    findings.add(Kind::CqNearlyFull, cq, 1, "");
    findings.add(Kind::NoInline, qp, 1, "");
    findings.completionQueueGone(8);
    findings.queuePairGone(8);
    EXPECT_FALSE(findings.facts(0).gone || findings.facts(1).gone);
    findings.completionQueueGone(7);
    EXPECT_TRUE(findings.facts(0).gone);
    EXPECT_FALSE(findings.facts(1).gone);
    EXPECT_TRUE(findings.facts(1).kernel);
    findings.add(Kind::CqNearlyFull, cq, 2, ""); // another of this number
    EXPECT_FALSE(findings.facts(0).gone);
    findings.allGone();
    EXPECT_TRUE(findings.facts(0).gone && findings.facts(1).gone);
}

// ---- the driver's side ----

erdma_check plausible() {
    erdma_check answer{};
    answer.head.len = sizeof(answer);
    answer.head.index = 4;
    answer.on = 1;
    answer.total = 5;
    answer.count = 3;
    answer.qpn = 9;
    answer.flags = ERDMA_CHECK_KERNEL;
    answer.severity = ERDMA_FINDING_WARNING;
    answer.first_ns = 100;
    answer.last_ns = 50;
    std::memcpy(answer.id, "shared-sink", 11);
    std::memcpy(answer.advice, "Do not.", 7);
    return answer;
}

bool believed(const erdma_check& answer, uint32_t number = 5) {
    erdma_info_finding out{};
    const bool taken = erdma_check_finding(&answer, number, &out);
    if (!taken) { // nothing of it reaches the caller
        const erdma_info_finding nothing{};
        EXPECT_EQ(std::memcmp(&out, &nothing, sizeof(out)), 0);
    }
    return taken;
}

TEST(QueryCheck, DriverTakesWhatTheModelSays) {
    QueryBench t;
    t.checker->start({});
    t.useUnknownKey(t.a);
    const erdma_check answer = t.query(0);
    erdma_info_finding state{}, out{};
    ASSERT_TRUE(erdma_check_state(&answer, &state));
    EXPECT_EQ(state.flags, ERDMA_FINDING_ON);
    EXPECT_EQ(state.total, 1u);
    ASSERT_TRUE(erdma_check_finding(&answer, 1, &out));
    EXPECT_EQ(out.number, 1u);
    EXPECT_EQ(out.qp, t.a.qpn);
    EXPECT_EQ(out.count, answer.count);
    EXPECT_STREQ(reinterpret_cast<const char*>(out.id), "stale-key");
    for (size_t kind = 0; kind < static_cast<size_t>(Kind::Count); ++kind) {
        const check::KindFacts& facts = check::factsOf(static_cast<Kind>(kind));
        erdma_check one = plausible();
        std::strncpy(reinterpret_cast<char*>(one.id), facts.id, sizeof(one.id));
        std::strncpy(reinterpret_cast<char*>(one.advice), facts.advice, sizeof(one.advice));
        EXPECT_TRUE(believed(one)) << facts.id;
    }
}

TEST(QueryCheck, DriverBelievesNothingImpossible) {
    ASSERT_TRUE(believed(plausible()));
    const auto wrong = [](const char* what, auto change) {
        erdma_check answer = plausible();
        change(answer);
        EXPECT_FALSE(believed(answer)) << what;
    };
    wrong("length", [](erdma_check& c) { c.head.len = 247; });
    wrong("index", [](erdma_check& c) { c.head.index = 3; });
    wrong("off", [](erdma_check& c) { c.on = 0; });
    wrong("state", [](erdma_check& c) { c.on = 2; });
    wrong("total", [](erdma_check& c) { c.total = 4; });
    wrong("severity", [](erdma_check& c) { c.severity = 3; });
    wrong("count", [](erdma_check& c) { c.count = 0; });
    wrong("no id", [](erdma_check& c) { std::memset(c.id, 0, sizeof(c.id)); });
    wrong("id without end", [](erdma_check& c) { std::memset(c.id, 'a', sizeof(c.id)); });
    wrong("advice without end", [](erdma_check& c) { std::memset(c.advice, 'a', sizeof(c.advice)); });
    wrong("something behind the id", [](erdma_check& c) { c.id[31] = 'a'; });
    for (const uint8_t byte : std::to_array<uint8_t>({0x01, 0x0A, 0x1B, 0x7F, 0x80, 0xFF})) {
        wrong("byte in id", [byte](erdma_check& c) { c.id[2] = byte; });
        wrong("byte in advice", [byte](erdma_check& c) { c.advice[2] = byte; });
    }
    EXPECT_FALSE(believed(plausible(), 0));
    EXPECT_FALSE(believed(plausible(), 6));
    EXPECT_FALSE(believed(plausible(), UINT32_MAX));

    // What is only absurd is cut.
    erdma_check answer = plausible();
    answer.total = UINT32_MAX;
    erdma_info_finding out{};
    ASSERT_TRUE(erdma_check_state(&answer, &out));
    EXPECT_EQ(out.total, uint32_t{ERDMA_FINDINGS_MOST});
    answer.head.index = ERDMA_FINDINGS_MOST;
    EXPECT_FALSE(believed(answer, ERDMA_FINDINGS_MOST + 1));
    answer = plausible();
    answer.first_ns = 1;
    answer.last_ns = UINT64_MAX;
    answer.flags = 0xFF;
    ASSERT_TRUE(erdma_check_finding(&answer, 5, &out));
    EXPECT_EQ(out.last_ns, 1u);
    EXPECT_EQ(out.flags, uint32_t{ERDMA_FINDING_KERNEL | ERDMA_FINDING_GONE});
}

} // namespace
} // namespace erdma::test
