// SPDX-License-Identifier: GPL-2.0-or-later
#include "netlink.h"

#include <exception>

#include <netlink/msg.h>
#include <netlink/socket.h>

namespace eadm {

namespace {

struct Dump {
    const std::function<void(nlmsghdr*)>& each;
    std::exception_ptr trouble; // must not pass through the library
};

int onAnswer(nl_msg* message, void* argument) {
    auto& dump = *static_cast<Dump*>(argument);
    nlmsghdr* head = nlmsg_hdr(message);
    try {
        dump.each(head);
    } catch (...) {
        dump.trouble = std::current_exception();
        return NL_STOP;
    }
    return NL_OK;
}

} // namespace

Netlink::Netlink(int protocol) : socket_(nl_socket_alloc(), nl_socket_free) {
    if (!socket_)
        return;
    connected_ = nl_connect(socket_.get(), protocol) == 0;
    nl_socket_disable_auto_ack(socket_.get());
}

bool Netlink::dump(int type, const void* head, size_t bytes, const std::function<void(nlmsghdr*)>& each) {
    if (!connected_ ||
        nl_send_simple(socket_.get(), type, NLM_F_REQUEST | NLM_F_DUMP, const_cast<void*>(head), bytes) < 0)
        return false;
    Dump state{each, {}};
    nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, onAnswer, &state);
    // One that was interrupted by changes is complete but for those.
    nl_socket_modify_cb(
        socket_.get(), NL_CB_DUMP_INTR, NL_CB_CUSTOM, [](nl_msg*, void*) { return int{NL_OK}; }, nullptr);
    const int result = nl_recvmsgs_default(socket_.get());
    if (state.trouble)
        std::rethrow_exception(state.trouble);
    return result >= 0;
}

} // namespace eadm
