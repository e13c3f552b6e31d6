// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault_text.h"

#include <gtest/gtest.h>

#include "fake_host.h"

namespace erdma::test {
namespace {

using CommandFate = FaultPlan::CommandFate;

TEST(Fault, EmptyPlanDoesNothing) {
    FaultPlan plan;
    uint32_t status = 0;
    EXPECT_EQ(plan.onCommand(0, 4, status), CommandFate::None);
    EXPECT_FALSE(plan.initStuck());
    EXPECT_FALSE(plan.dead());
    EXPECT_EQ(describeFaults(plan), "");
}

TEST(Fault, RulesApplyInOrderAndRunOut) {
    FaultPlan plan;
    ASSERT_EQ(parseFaults(" cmd-drop=0/4*2 ; cmd-fail=0/4:22;cmd-fail=1/any:5*1;; ", plan), std::nullopt);
    EXPECT_EQ(describeFaults(plan), "cmd-drop=0/4*2;cmd-fail=0/4:22;cmd-fail=1/any:5*1");
    uint32_t status = 0;
    EXPECT_EQ(plan.onCommand(0, 4, status), CommandFate::Drop);
    EXPECT_EQ(describeFaults(plan), "cmd-drop=0/4*1;cmd-fail=0/4:22;cmd-fail=1/any:5*1");
    EXPECT_EQ(plan.onCommand(0, 4, status), CommandFate::Drop);
    EXPECT_EQ(plan.onCommand(0, 4, status), CommandFate::Fail);
    EXPECT_EQ(status, 22);
    EXPECT_EQ(plan.onCommand(0, 5, status), CommandFate::None);
    EXPECT_EQ(plan.onCommand(1, 200, status), CommandFate::Fail);
    EXPECT_EQ(status, 5);
    EXPECT_EQ(plan.onCommand(1, 200, status), CommandFate::None);
    EXPECT_EQ(describeFaults(plan), "cmd-fail=0/4:22");
}

TEST(Fault, SomePassFirst) {
    FaultPlan plan;
    uint32_t status = 0;
    ASSERT_EQ(parseFaults("cmd-fail=0/any:7+2*1;cmd-drop=0/4;irq-lose=1+1", plan), std::nullopt);
    EXPECT_EQ(describeFaults(plan), "cmd-fail=0/any:7+2*1;cmd-drop=0/4;irq-lose=1+1");
    // One that passes is for the rules behind it.
    for (const auto& [opcode, verdict] :
         {std::pair{3, CommandFate::None}, {4, CommandFate::Drop}, {4, CommandFate::Fail}, {3, CommandFate::None}})
        EXPECT_EQ(plan.onCommand(0, static_cast<uint8_t>(opcode), status), verdict);
    EXPECT_EQ(status, 7);
    EXPECT_EQ(describeFaults(plan), "cmd-drop=0/4;irq-lose=1+1");
    for (const bool lost : {false, true, true})
        EXPECT_EQ(plan.losesInterrupt(1), lost);
}

TEST(Fault, EmptyTextClears) {
    FaultPlan plan;
    ASSERT_EQ(parseFaults("dead;init-stuck", plan), std::nullopt);
    EXPECT_TRUE(plan.dead());
    EXPECT_TRUE(plan.initStuck());
    EXPECT_EQ(describeFaults(plan), "init-stuck;dead");
    ASSERT_EQ(parseFaults("", plan), std::nullopt);
    EXPECT_FALSE(plan.dead());
    EXPECT_EQ(describeFaults(plan), "");
}

class BadText : public testing::TestWithParam<const char*> {};

TEST_P(BadText, IsExplainedAndChangesNothing) {
    FaultPlan plan;
    ASSERT_EQ(parseFaults("init-stuck", plan), std::nullopt);
    const auto error = parseFaults(GetParam(), plan);
    ASSERT_TRUE(error.has_value());
    EXPECT_FALSE(error->empty());
    EXPECT_EQ(describeFaults(plan), "init-stuck");
}

INSTANTIATE_TEST_SUITE_P(Fault, BadText,
                         testing::Values("x", "cmd-drop=", "cmd-drop=1", "cmd-drop=4/1", "cmd-drop=a/1",
                                         "cmd-drop=0/256", "cmd-drop=0/1*0", "cmd-drop=0/1*", "cmd-drop=0/1*4294967296",
                                         "cmd-drop=0/1+", "cmd-drop=0/1*1+1", "cmd-fail=0/1", "cmd-fail=0/1:0",
                                         "cmd-fail=0/1:256", "cmd-fail=0/1:", "cmd-slow=0/1", "cmd-slow=0/1:0",
                                         "cmd-slow=0/1:600001", "cmd-slow=:5", "irq-lose=", "irq-lose=32",
                                         "irq-lose=1*0", "db-lose=", "db-lose=aeq", "db-lose=any", "post=", "post=aeq",
                                         "post=aeq:x", "post=aeq:1,2,3,4,5", "post=aeq:1,,2", "post=aeq:100000000",
                                         "post=eq:1", "post=eqx:1", "post=cq:1", "post=cq1:1*65537",
                                         "post=cmd:1,2,3,4,5,6,7,8,9", "post=rq1:1", "cmd-drop=0/-1", "dead;nonsense",
                                         "cmd-drop=0/1:5", "cmd-drop=0/1 2"));

TEST(Fault, LossesAreCounted) {
    FaultPlan plan;
    ASSERT_EQ(parseFaults("irq-lose=3*2;irq-lose=any*1;db-lose=rq;db-lose=cmd*1", plan), std::nullopt);
    EXPECT_EQ(describeFaults(plan), "irq-lose=3*2;irq-lose=any*1;db-lose=rq;db-lose=cmd*1");
    EXPECT_TRUE(plan.losesInterrupt(3));
    EXPECT_TRUE(plan.losesInterrupt(7));
    EXPECT_FALSE(plan.losesInterrupt(7));
    EXPECT_TRUE(plan.losesInterrupt(3));
    EXPECT_FALSE(plan.losesInterrupt(3));
    EXPECT_FALSE(plan.losesDoorbell(Doorbell::Send));
    EXPECT_TRUE(plan.losesDoorbell(Doorbell::Command));
    EXPECT_FALSE(plan.losesDoorbell(Doorbell::Command));
    EXPECT_TRUE(plan.losesDoorbell(Doorbell::Receive));
    EXPECT_EQ(describeFaults(plan), "db-lose=rq");
}

TEST(Fault, InjectionsAreNoState) {
    FaultPlan plan;
    ASSERT_EQ(parseFaults("post=eq3:1,ff*2; post=cmd:abc ;dead", plan), std::nullopt);
    EXPECT_EQ(describeFaults(plan), "dead");
    ASSERT_EQ(plan.injections().size(), 2u);
    EXPECT_EQ(plan.injections()[0].queue, FaultPlan::Injection::Queue::Event);
    EXPECT_EQ(plan.injections()[0].number, 3u);
    EXPECT_EQ(plan.injections()[0].words[1], 0xffu);
    EXPECT_EQ(plan.injections()[0].count, 2u);
    EXPECT_EQ(plan.injections()[1].words[0], 0xabcu);
}

TEST(Fault, PostedEntries) {
    Machine m;
    EXPECT_NE(setFaults(m.device, "post=aeq:1"), std::nullopt) << "before INIT";
    m.guest.bringUp();
    for (const char* text : {"post=eq1:1", "post=eq32:1", "post=cq3:1", "irq-lose=1;post=cq3:1"})
        EXPECT_NE(setFaults(m.device, text), std::nullopt) << text;
    EXPECT_EQ(describeFaults(m.device.faults()), "") << "a refused text changes nothing";
    ASSERT_TRUE(m.guest.createEq(1).ok());
    ASSERT_TRUE(m.guest.createCq(3).ok());
    m.guest.armCq(3);

    const size_t before = m.host.interruptsOf(0);
    ASSERT_EQ(setFaults(m.device, "post=aeq:ff0000,7,8,9*2;post=eq1:5;post=cq3:ff05ff,11,12,13,14"), std::nullopt);
    EXPECT_EQ(m.host.interruptsOf(0), before + 1)
        << "an interrupt for the first, the queue is not armed for the second";
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(m.guest.pollEq(m.guest.aeq()), (Eqe{0x80ff0000, 7, 8, 9}));
    EXPECT_EQ(m.guest.pollEq(m.guest.ceq(1)), (Eqe{0x80000005, 0, 0, 0}));
    EXPECT_EQ((*m.guest.pollEq(m.guest.ceq(1)))[0], 0x80000003u) << "the armed CQ told of its entry";
    const auto cqe = m.guest.pollCq(3);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->opcode, 0xff);
    EXPECT_EQ(cqe->queueType, 5);
    EXPECT_EQ(cqe->syndrome, 0xff);
    EXPECT_EQ(cqe->index, 0x11u);
    EXPECT_EQ(cqe->qpn, 0x12u);
    EXPECT_EQ(cqe->bytes, 0x14u);

    ASSERT_EQ(setFaults(m.device, "post=cmd:2ff,3"), std::nullopt);
    const auto reply = m.guest.pollCommand();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 0xffu);
    EXPECT_EQ(reply->sqIndex, 3u);
}

TEST(Fault, LostInterruptDisarmsTheQueue) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "irq-lose=0*1"), std::nullopt);
    m.device.adapter().events.raise(AsyncEvent::Other, 1, 0);
    EXPECT_EQ(m.host.interruptsOf(0), 0u);
    m.device.adapter().events.raise(AsyncEvent::Other, 2, 0);
    EXPECT_EQ(m.host.interruptsOf(0), 0u) << "as if it had been sent";
    m.guest.ringAeq();
    EXPECT_EQ(m.host.interruptsOf(0), 1u);
}

TEST(Fault, LostDoorbells) {
    Machine m;
    m.guest.bringUp();
    ASSERT_TRUE(m.guest.createEq(1).ok());
    ASSERT_TRUE(m.guest.createCq(3).ok());
    ASSERT_TRUE(m.guest.createQp(5, 3, 3).ok());
    ASSERT_EQ(setFaults(m.device, "db-lose=cmd*1;db-lose=sq*1;db-lose=rq*1;db-lose=cq*1;db-lose=eq*1"), std::nullopt);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    m.guest.write64(0x5F000, uint64_t{5} << 32 | 2);
    m.guest.write64(kRqDoorbells, uint64_t{5} << 32 | 2);
    m.guest.armCq(3);
    m.guest.write64(0x50, 77); // would be impossible
    EXPECT_EQ(describeFaults(m.device.faults()), "");
    EXPECT_EQ(m.device.findQp(5)->snapshot().sqPi, 0);
    EXPECT_EQ(m.device.findQp(5)->snapshot().rqPi, 0);
    EXPECT_FALSE(m.device.findCq(3)->armed());
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
    m.guest.ringCommands(); // the next doorbell makes up for the lost one
    EXPECT_TRUE(m.guest.pollCommand());
}

TEST(Fault, DroppedCommandIsConsumedAndNeverCompletes) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "cmd-drop=1/2*1"), std::nullopt);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    EXPECT_EQ(m.guest.status(1, 2), 0u); // the queue goes on
    EXPECT_EQ(describeFaults(m.device.faults()), "");
}

TEST(Fault, FailedCommandHasNoEffect) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "cmd-fail=1/0:12*1"), std::nullopt);
    EXPECT_EQ(m.guest.createEq(1).status, 12u);
    EXPECT_EQ(m.count(Counter::EqsNow), 0u);
    EXPECT_TRUE(m.guest.createEq(1).ok());
}

TEST(Fault, SlowCommandsAreAnsweredLater) {
    constexpr uint64_t kMs = 1'000'000;
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "cmd-slow=1/0:30*1;cmd-slow=1/2:20*1"), std::nullopt);
    EXPECT_EQ(describeFaults(m.device.faults()), "cmd-slow=1/0:30*1;cmd-slow=1/2:20*1");
    EXPECT_EQ(m.guest.createEq(1).status, UINT32_MAX);
    EXPECT_EQ(m.count(Counter::EqsNow), 1u) << "executed at once";
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    EXPECT_EQ(m.guest.status(1, 2), 0u) << "others are not held up";
    m.guest.advance(20 * kMs);
    auto answer = m.guest.pollCommand();
    ASSERT_TRUE(answer) << "the one that takes less time comes first";
    EXPECT_EQ(answer->opcode, 2);
    EXPECT_FALSE(m.guest.pollCommand());
    m.guest.advance(10 * kMs);
    answer = m.guest.pollCommand();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->opcode, 0);
    EXPECT_TRUE(answer->ok());
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF);

    ASSERT_EQ(setFaults(m.device, "cmd-slow=1/any:30"), std::nullopt);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    m.guest.write32(0x10, 1);
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF) << "a reset device answers nothing any more";
}

TEST(Fault, AnswersThatWaitAreBounded) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "cmd-slow=1/any:600000"), std::nullopt);
    for (unsigned i = 0; i < 128; ++i)
        ASSERT_EQ(m.guest.status(1, 2), UINT32_MAX) << i;
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_EQ(m.guest.status(1, 2), 0u) << "one more than a driver waits for is answered at once";
}

TEST(Fault, StuckInitialisation) {
    Machine m;
    ASSERT_EQ(setFaults(m.device, "init-stuck"), std::nullopt);
    m.guest.bringUp();
    EXPECT_FALSE(m.guest.initDone());
    ASSERT_EQ(setFaults(m.device, ""), std::nullopt);
    m.guest.init();
    EXPECT_TRUE(m.guest.initDone());
}

TEST(Fault, DeadDeviceReadsOnesAndIgnoresWrites) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(setFaults(m.device, "dead"), std::nullopt);
    EXPECT_EQ(m.guest.read32(0x00), 0xFFFFFFFFu);
    EXPECT_EQ(m.guest.read64(0x80), UINT64_MAX);
    EXPECT_EQ(m.device.mmioRead(0x500, 1), 0xFFu);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    m.guest.write32(0x10, 1);
    ASSERT_EQ(setFaults(m.device, ""), std::nullopt);
    EXPECT_TRUE(m.guest.initDone());
}

} // namespace
} // namespace erdma::test
