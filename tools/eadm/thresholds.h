// SPDX-License-Identifier: GPL-2.0-or-later
// From where on doctor calls something a warning or a fault.  eadm.conf sets and explains them.
#pragma once

#include <string>
#include <vector>

namespace eadm {

// X(name, default)
#define EADM_THRESHOLDS(X)                                                                                             \
    X(seconds, 2)                                                                                                      \
    X(retransmissions_warning, 0.5)                                                                                    \
    X(retransmissions_fault, 2)                                                                                        \
    X(retransmissions_percent_warning, 0.01)                                                                           \
    X(retransmissions_percent_fault, 0.1)                                                                              \
    X(strange_events, 2)                                                                                               \
    X(tcp_instead, 1e6)                                                                                                \
    X(small_window, 262144)                                                                                            \
    X(small_lock_limit, 67108864)                                                                                      \
    X(unbalanced_events, 500)                                                                                          \
    X(slow_setup, 5)                                                                                                   \
    X(one_way, 5)                                                                                                      \
    X(held_up_percent, 30)                                                                                             \
    X(long_path_ms, 20)                                                                                                \
    X(limit_percent, 90)

struct Thresholds {
#define EADM_THRESHOLD_FIELD(name, value) double name = value;
    EADM_THRESHOLDS(EADM_THRESHOLD_FIELD)
#undef EADM_THRESHOLD_FIELD
};

// The file of the installation.
std::string thresholdsFile();
// Reads "name = number" lines, "#" begins a comment; what a file does not name keeps its default.  An empty path means
// the installation's file, which may be missing.  Throws Error for unknown names, and values that are no numbers.
Thresholds readThresholds(const std::string& path);
std::vector<std::string> thresholdNames();

} // namespace eadm
