// SPDX-License-Identifier: GPL-2.0-or-later
#include "rates.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "objects.h"

namespace eadm {

namespace {

double perSecond(double amount, const Sample& before, const Sample& now) {
    const double seconds = now.at - before.at;
    return seconds > 0 ? std::round(amount / seconds * 10) / 10 : 0;
}

} // namespace

double steadySeconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Sample takeSample(const Driver& driver, uint32_t device) {
    Sample sample;
    sample.at = steadySeconds();
    for (const auto& counter : driver.list<erdma_info_counter>(ERDMA_KIND_COUNTER, device).entries)
        sample.counters.set(textOf(counter.name), counter.value);
    auto qps = driver.list<erdma_info_qp>(ERDMA_KIND_QP, device);
    sample.qps = std::move(qps.entries);
    sample.hidden = qps.hidden;
    return sample;
}

Json deviceRates(const Sample& before, const Sample& now) {
    const auto rate = [&](std::initializer_list<Counter> counters) {
        double sum = 0;
        for (const Counter counter : counters) {
            const uint64_t old = before.counters[counter];
            const uint64_t fresh = now.counters[counter];
            sum += static_cast<double>(fresh - (old > fresh ? 0 : old));
        }
        return perSecond(sum, before, now);
    };
    Json json;
    json["tx_requests"] = rate({Counter::tx_reqs_cnt});
    json["tx_packets"] = rate({Counter::tx_packets_cnt});
    json["tx_bytes"] = rate({Counter::tx_bytes_cnt});
    json["rx_packets"] = rate({Counter::rx_packets_cnt});
    json["rx_bytes"] = rate({Counter::rx_bytes_cnt});
    json["drops"] =
        rate({Counter::tx_disable_drop_cnt, Counter::tx_bps_limit_drop_cnt, Counter::tx_pps_limit_drop_cnt,
              Counter::rx_disable_drop_cnt, Counter::rx_bps_limit_drop_cnt, Counter::rx_pps_limit_drop_cnt});
    json["completion_events"] = rate({Counter::ceq_events_cnt});
    json["commands"] = rate({Counter::cmdq_submitted_cnt});
    return json;
}

Json queuePairRates(const Sample& before, const Sample& now, size_t most) {
    struct Busy {
        const erdma_info_qp* qp;
        uint32_t sends, receives;
    };
    std::vector<Busy> list;
    auto old = before.qps.begin();
    for (const auto& qp : now.qps) {
        while (old != before.qps.end() && old->number < qp.number)
            ++old;
        Busy busy{&qp, 0, 0};
        // A younger one has taken over the number of its predecessor.
        if (old != before.qps.end() && old->number == qp.number && qp.age_ms >= old->age_ms) {
            const uint32_t both = qp.known & old->known;
            if ((both & ERDMA_KNOWN_SQ_PI) != 0)
                busy.sends = static_cast<uint16_t>(qp.sq_pi - old->sq_pi);
            if ((both & ERDMA_KNOWN_RQ_PI) != 0)
                busy.receives = static_cast<uint16_t>(qp.rq_pi - old->rq_pi);
        }
        list.push_back(busy);
    }
    most = std::min(most, list.size());
    std::partial_sort(list.begin(), list.begin() + static_cast<ptrdiff_t>(most), list.end(),
                      [](const Busy& a, const Busy& b) {
                          const uint32_t left = a.sends + a.receives;
                          const uint32_t right = b.sends + b.receives;
                          return left != right ? left > right : a.qp->number < b.qp->number;
                      });
    Json rows = Json::array();
    for (size_t i = 0; i < most; ++i) {
        const Json qp = toJson(*list[i].qp);
        Json row;
        row["qp"] = qp["qp"];
        row["state"] = qp["state"];
        row["remote"] = qp["remote"];
        row["owner"] = qp["owner"]["name"];
        row["posted_blocks"] = perSecond(list[i].sends, before, now);
        row["posted_receives"] = perSecond(list[i].receives, before, now);
        rows.push_back(row);
    }
    return rows;
}

} // namespace eadm
