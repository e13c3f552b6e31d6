// SPDX-License-Identifier: GPL-2.0-or-later
// Questions to the kernel over netlink.
#pragma once

#include <functional>
#include <memory>

#include <netlink/netlink.h>

namespace eadm {

// A connected netlink socket.
class Netlink {
public:
    // `protocol`: NETLINK_SOCK_DIAG or another.  What cannot be opened answers no question.
    explicit Netlink(int protocol);

    // Sends a question for a list and hands on each answer.  False when there is no complete list: not permitted, no
    // such family in this kernel, or it does not answer.
    bool dump(int type, const void* head, size_t bytes, const std::function<void(nlmsghdr*)>& each);

private:
    std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket_;
    bool connected_ = false;
};

} // namespace eadm
