// SPDX-License-Identifier: GPL-2.0-or-later
// What eadm makes of the kernel's answers about TCP.
#include <gtest/gtest.h>

#include <array>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

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

// A TCP connection of this machine to itself; each end is a socket of the family.
struct Connection {
    explicit Connection(int family) {
        listener = socket(family, SOCK_STREAM, 0);
        sockaddr_storage address{};
        socklen_t size = sizeof(address);
        address.ss_family = static_cast<sa_family_t>(family);
        if (family == AF_INET)
            reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        else
            inet_pton(AF_INET6, "::ffff:127.0.0.1", &reinterpret_cast<sockaddr_in6&>(address).sin6_addr);
        client = socket(family, SOCK_STREAM, 0);
        good = bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener, 1) == 0 &&
               getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
               connect(client, reinterpret_cast<sockaddr*>(&address), size) == 0;
        port = ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port); // at the same place in both
        server = good ? accept(listener, nullptr, nullptr) : -1;
    }
    ~Connection() {
        for (const int fd : {listener, client, server})
            if (fd >= 0)
                close(fd);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    int listener, client, server = -1;
    uint16_t port = 0;
    bool good = false;
};

// The kernel of this machine is asked.
TEST(EadmNetwork, KernelTellsBytes) {
    const uint32_t loopback = htonl(INADDR_LOOPBACK);
    for (const int family : {AF_INET, AF_INET6}) {
        const Connection connection(family);
        if (!connection.good)
            GTEST_SKIP() << "no TCP over address family " << family << " here";
        const auto before = eadm::tcpConnections({loopback});
        if (!before)
            GTEST_SKIP() << "this kernel has no sock_diag for TCP";
        const std::array<char, 50000> data{};
        std::array<char, 50000> got;
        ASSERT_EQ(write(connection.client, data.data(), data.size()), static_cast<ssize_t>(data.size()));
        ASSERT_EQ(recv(connection.server, got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(got.size()));
        const auto now = eadm::tcpConnections({loopback});
        ASSERT_TRUE(now);
        const std::string server = "127.0.0.1:" + std::to_string(connection.port);
        size_t found = 0;
        for (const auto& flow : eadm::tcpGrowth(*before, *now, 1))
            if (flow.remote == server) {
                EXPECT_EQ(flow.bytesPerSecond, data.size());
                EXPECT_EQ(flow.uid, getuid());
                ++found;
            } else {
                EXPECT_NE(flow.local, server) << "counted twice";
            }
        EXPECT_EQ(found, 1u);
        EXPECT_TRUE(eadm::tcpConnections({kOwn})->empty());
    }
}

} // namespace
