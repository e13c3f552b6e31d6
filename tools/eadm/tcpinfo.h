// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace eadm {

// Bytes sent and acknowledged, and bytes received, of the kernel's struct tcp_info, of which an older kernel gives less.
// In a file of its own: the kernel's and the C library's headers of that structure exclude each other.
std::pair<uint64_t, uint64_t> tcpBytes(const void* info, size_t bytes);

} // namespace eadm
