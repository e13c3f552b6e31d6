// SPDX-License-Identifier: GPL-2.0-or-later
#include "config.h"

#include <bit>

#include "hw.h"

namespace erdma {

namespace {

constexpr uint32_t kMinSegmentBytes = 1460;
constexpr uint32_t kMinPathMtu = 256;

struct Limit {
    const char* field;
    uint32_t erdma_config::*member;
    uint32_t min, max;
};
constexpr Limit kLimits[] = {
    {"protocol", &erdma_config::protocol, ERDMA_PROTOCOL_IWARP, ERDMA_PROTOCOL_ROCEV2},
    {"vectors", &erdma_config::vectors, 2, ERDMA_MAX_VECTORS},
    {"direct_wqe_groups", &erdma_config::direct_wqe_groups, 0, 255},
    {"qblock", &erdma_config::qblock, 1, 64},
    {"max_cqe_log", &erdma_config::max_cqe_log, 6, 20},
    {"max_recv_wr_log", &erdma_config::max_recv_wr_log, 6, 15},
    {"max_mr_size_log", &erdma_config::max_mr_size_log, 20, 48},
    {"default_cc", &erdma_config::default_cc, 0, 4},
    {"pair_timeout_ms", &erdma_config::pair_timeout_ms, 1, 600000},
    {"rnr_hold_ms", &erdma_config::rnr_hold_ms, 0, 600000},
    {"ord", &erdma_config::ord, 1, kMaxOrd},
    {"ird", &erdma_config::ird, 1, kMaxIrd},
    {"segment_bytes", &erdma_config::segment_bytes, 0, 65000},
    {"buffer_bytes", &erdma_config::buffer_bytes, 65536, 4194304},
    {"total_buffer_bytes", &erdma_config::total_buffer_bytes, 4194304, 2147483648},
    {"ack_delay_ms", &erdma_config::ack_delay_ms, 0, 499},
    {"ack_segments", &erdma_config::ack_segments, 1, 64},
    {"rto_min_ms", &erdma_config::rto_min_ms, 10, 1000},
    {"give_up_ms", &erdma_config::give_up_ms, 1000, 600000},
    {"keep_idle_ms", &erdma_config::keep_idle_ms, 1000, 7200000},
    {"keep_interval_ms", &erdma_config::keep_interval_ms, 100, 600000},
    {"keep_probes", &erdma_config::keep_probes, 1, 100},
    {"first_fpdu_ms", &erdma_config::first_fpdu_ms, 0, 60000},
    {"time_wait_ms", &erdma_config::time_wait_ms, 100, 120000},
    {"roce_pmtu", &erdma_config::roce_pmtu, 0, 4096},
};

} // namespace

std::optional<std::string> checkConfig(const erdma_config& config) {
    for (const Limit& limit : kLimits) {
        const uint32_t value = config.*limit.member;
        if (value < limit.min || value > limit.max)
            return std::string(limit.field) + "=" + std::to_string(value) + " is out of range: allowed are " +
                   std::to_string(limit.min) + " to " + std::to_string(limit.max);
    }
    if (config.segment_bytes != 0 && config.segment_bytes < kMinSegmentBytes)
        return "segment_bytes=" + std::to_string(config.segment_bytes) + " is out of range: allowed are 0 and " +
               std::to_string(kMinSegmentBytes) + " to 65000";
    const uint32_t pmtu = config.roce_pmtu;
    if (pmtu != 0 && (pmtu < kMinPathMtu || !std::has_single_bit(pmtu)))
        return "roce_pmtu=" + std::to_string(pmtu) + " is none of 0, 256, 512, 1024, 2048 and 4096";
    return std::nullopt;
}

erdma_config defaultConfig() {
    erdma_config config{};
    config.protocol = ERDMA_PROTOCOL_IWARP;
    config.vectors = ERDMA_MAX_VECTORS;
    config.direct_wqe_groups = 24;
    config.qblock = 4;
    config.max_cqe_log = 20;
    config.max_recv_wr_log = 15;
    config.max_mr_size_log = 36;
    config.default_cc = 1;
    config.firmware_version = 0x00000225;
    config.atomic = true;
    config.multilevel_mtt = true;
    config.extended_doorbells = true;
    config.ipv6 = true;
    config.pair_timeout_ms = 15000;
    config.rnr_hold_ms = 30000;
    config.ord = kMaxOrd;
    config.ird = kMaxIrd;
    config.segment_bytes = 0;
    config.buffer_bytes = 1u << 20;
    config.total_buffer_bytes = 256u << 20;
    config.ack_delay_ms = 40;
    config.ack_segments = 2;
    config.rto_min_ms = 200;
    config.give_up_ms = 30000;
    config.keep_idle_ms = 60000;
    config.keep_interval_ms = 10000;
    config.keep_probes = 6;
    config.first_fpdu_ms = 1000;
    config.time_wait_ms = 4000;
    config.roce_pmtu = 0;
    config.roce_cnp = false;
    config.mpa_crc = true;
    config.rfc7306 = false;
    config.complete_queued = false;
    return config;
}

} // namespace erdma
