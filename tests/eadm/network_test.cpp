// SPDX-License-Identifier: GPL-2.0-or-later
// What eadm makes of the kernel's answers about TCP.
#include <gtest/gtest.h>

#include <arpa/inet.h>

#include "network.h"

namespace {

using eadm::TcpEnd;
using eadm::TcpTable;

const uint32_t kOwn = inet_addr("10.0.0.1");
const uint32_t kPeer = inet_addr("10.0.0.2");

TEST(EadmNetwork, BytesPerConnection) {
    const TcpTable before = {{TcpEnd{kOwn, kPeer, 1, 2, 7}, {1000, 1000, 5}},
                             {TcpEnd{kOwn, kPeer, 3, 4, 8}, {10, 0, 0}}};
    const TcpTable now = {{TcpEnd{kOwn, kPeer, 1, 2, 7}, {3000, 2000, 5}},
                          {TcpEnd{kOwn, kPeer, 3, 4, 8}, {10, 0, 0}},      // idle
                          {TcpEnd{kOwn, kPeer, 5, 6, 9}, {100, 9900, 6}}}; // new
    const auto flows = eadm::tcpGrowth(before, now, 2);
    ASSERT_EQ(flows.size(), 2u);
    EXPECT_EQ(flows[0].local, "10.0.0.1:5");
    EXPECT_EQ(flows[0].bytesPerSecond, 5000u);
    EXPECT_EQ(flows[0].uid, 6u);
    EXPECT_EQ(flows[1].remote, "10.0.0.2:2");
    EXPECT_EQ(flows[1].bytesPerSecond, 1500u);
}

TEST(EadmNetwork, BothEndsHereCountOnce) {
    const TcpTable now = {{TcpEnd{kOwn, kOwn, 1, 2, 7}, {1000, 0, 0}}, {TcpEnd{kOwn, kOwn, 2, 1, 8}, {0, 1000, 0}}};
    const auto flows = eadm::tcpGrowth({}, now, 1);
    ASSERT_EQ(flows.size(), 1u);
    EXPECT_EQ(flows[0].bytesPerSecond, 1000u);
}

TEST(EadmNetwork, AnotherSocketOfTheSameName) {
    const TcpTable before = {{TcpEnd{kOwn, kPeer, 1, 2, 7}, {1'000'000, 0, 0}}};
    const TcpTable now = {{TcpEnd{kOwn, kPeer, 1, 2, 8}, {500, 0, 0}}};
    const auto flows = eadm::tcpGrowth(before, now, 1);
    ASSERT_EQ(flows.size(), 1u);
    EXPECT_EQ(flows[0].bytesPerSecond, 500u);
    EXPECT_TRUE(eadm::tcpGrowth(before, now, 0).empty());
}

} // namespace
