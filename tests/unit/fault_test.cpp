// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault.h"

#include <gtest/gtest.h>

#include "fake_host.h"

namespace erdma::test {
namespace {

using Verdict = FaultPlan::Verdict;

TEST(Fault, EmptyPlanDoesNothing) {
    FaultPlan plan;
    uint8_t status = 0;
    EXPECT_EQ(plan.onCommand(0, 4, status), Verdict::None);
    EXPECT_FALSE(plan.initStuck());
    EXPECT_FALSE(plan.dead());
    EXPECT_EQ(plan.text(), "");
}

TEST(Fault, RulesApplyInOrderAndRunOut) {
    FaultPlan plan;
    ASSERT_EQ(plan.set(" cmd-drop=0/4*2 ; cmd-fail=0/4:22;cmd-fail=1/any:5*1;; "), std::nullopt);
    EXPECT_EQ(plan.text(), "cmd-drop=0/4*2;cmd-fail=0/4:22;cmd-fail=1/any:5*1");
    uint8_t status = 0;
    EXPECT_EQ(plan.onCommand(0, 4, status), Verdict::Drop);
    EXPECT_EQ(plan.text(), "cmd-drop=0/4*1;cmd-fail=0/4:22;cmd-fail=1/any:5*1");
    EXPECT_EQ(plan.onCommand(0, 4, status), Verdict::Drop);
    EXPECT_EQ(plan.onCommand(0, 4, status), Verdict::Fail);
    EXPECT_EQ(status, 22);
    EXPECT_EQ(plan.onCommand(0, 5, status), Verdict::None);
    EXPECT_EQ(plan.onCommand(1, 200, status), Verdict::Fail);
    EXPECT_EQ(status, 5);
    EXPECT_EQ(plan.onCommand(1, 200, status), Verdict::None);
    EXPECT_EQ(plan.text(), "cmd-fail=0/4:22");
}

TEST(Fault, EmptyTextClears) {
    FaultPlan plan;
    ASSERT_EQ(plan.set("dead;init-stuck"), std::nullopt);
    EXPECT_TRUE(plan.dead());
    EXPECT_TRUE(plan.initStuck());
    EXPECT_EQ(plan.text(), "init-stuck;dead");
    ASSERT_EQ(plan.set(""), std::nullopt);
    EXPECT_FALSE(plan.dead());
    EXPECT_EQ(plan.text(), "");
}

class BadText : public testing::TestWithParam<const char*> {};

TEST_P(BadText, IsExplainedAndChangesNothing) {
    FaultPlan plan;
    ASSERT_EQ(plan.set("init-stuck"), std::nullopt);
    const auto error = plan.set(GetParam());
    ASSERT_TRUE(error.has_value());
    EXPECT_FALSE(error->empty());
    EXPECT_EQ(plan.text(), "init-stuck");
}

INSTANTIATE_TEST_SUITE_P(Fault, BadText,
                         testing::Values("x", "cmd-drop=", "cmd-drop=1", "cmd-drop=4/1", "cmd-drop=a/1",
                                         "cmd-drop=0/256", "cmd-drop=0/1*0", "cmd-drop=0/1*", "cmd-drop=0/1*4294967296",
                                         "cmd-fail=0/1", "cmd-fail=0/1:0", "cmd-fail=0/1:256", "cmd-fail=0/1:",
                                         "cmd-drop=0/-1", "dead;nonsense", "cmd-drop=0/1:5", "cmd-drop=0/1 2"));

TEST(Fault, DroppedCommandIsConsumedAndNeverCompletes) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(m.device.setFaults("cmd-drop=1/2*1"), std::nullopt);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    EXPECT_EQ(m.guest.status(1, 2), 0u); // the queue goes on
    EXPECT_EQ(m.device.faultText(), "");
}

TEST(Fault, FailedCommandHasNoEffect) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(m.device.setFaults("cmd-fail=1/0:12*1"), std::nullopt);
    EXPECT_EQ(m.guest.createEq(1).status, 12u);
    EXPECT_EQ(m.count(Counter::EqsNow), 0u);
    EXPECT_TRUE(m.guest.createEq(1).ok());
}

TEST(Fault, StuckInitialisation) {
    Machine m;
    ASSERT_EQ(m.device.setFaults("init-stuck"), std::nullopt);
    m.guest.bringUp();
    EXPECT_FALSE(m.guest.initDone());
    ASSERT_EQ(m.device.setFaults(""), std::nullopt);
    m.guest.init();
    EXPECT_TRUE(m.guest.initDone());
}

TEST(Fault, DeadDeviceReadsOnesAndIgnoresWrites) {
    Machine m;
    m.guest.bringUp();
    ASSERT_EQ(m.device.setFaults("dead"), std::nullopt);
    EXPECT_EQ(m.guest.read32(0x00), 0xFFFFFFFFu);
    EXPECT_EQ(m.guest.read64(0x80), UINT64_MAX);
    EXPECT_EQ(m.device.mmioRead(0x500, 1), 0xFFu);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    m.guest.write32(0x10, 1);
    ASSERT_EQ(m.device.setFaults(""), std::nullopt);
    EXPECT_TRUE(m.guest.initDone());
}

} // namespace
} // namespace erdma::test
