// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcpinfo.h"

#include <algorithm>
#include <cstring>

#include <linux/tcp.h>

namespace eadm {

std::pair<uint64_t, uint64_t> tcpBytes(const void* info, size_t bytes) {
    tcp_info copy{};
    std::memcpy(&copy, info, std::min(sizeof(copy), bytes));
    return {copy.tcpi_bytes_acked, copy.tcpi_bytes_received};
}

} // namespace eadm
