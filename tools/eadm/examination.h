// SPDX-License-Identifier: GPL-2.0-or-later
// The rules of doctor, each a look at one subject.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "doctor.h"

namespace eadm {

class Examination {
public:
    Examination(const Snapshot& snapshot, const Thresholds& limits) : snapshot_(snapshot), limits_(limits) {}

    std::vector<Finding> run();

private:
    // examination.cpp
    void add(Severity severity, const char* id, std::string text, std::string advice, Json figures = Json::object());
    uint64_t counter(Counter counter);
    uint64_t growth(Counter counter); // between the two looks
    double rate(uint64_t grown) const {
        return adapter_->seconds > 0 ? static_cast<double>(grown) / adapter_->seconds : 0;
    }
    // About one queue pair of perhaps thousands: those beyond a few are only counted.
    void addQp(Severity severity, const char* id, std::string text, std::string advice, Json figures);
    void countedOnly();
    void unseen();

    // rules_machine.cpp
    void machine();
    void device();
    void interface();
    void commands();
    void drops();
    void events();

    // rules_check.cpp
    void checkMode();

    // rules_connections.cpp
    void connections();
    void setUp();
    void queuePair(const WatchedQp& qp);
    void dialectOf(const WatchedQp& qp, const std::string& name);
    bool neverWorks(const WatchedQp& qp, const std::string& name);
    uint64_t packetsSent(const WatchedQp& qp);
    bool retransmissions(const WatchedQp& qp, const std::string& name, const Json& figures);
    void stuck(const WatchedQp& qp, const std::string& name, const Json& figures);
    void path(const WatchedQp& qp, const std::string& name);
    void otherWays();
    bool speaksRoce() const { return adapter_->device.protocol != 0; }
    const WatchedQp* peerOf(const WatchedQp& qp) const;

    // rules_flow.cpp
    void slowness(const WatchedQp& qp, const std::string& name);
    void heldUp(const WatchedQp& qp, const std::string& name);
    bool readDepth(const WatchedQp& qp, const std::string& name, std::optional<double> percent, Json figures);
    bool windowIsFull(const WatchedQp& qp);

    const Snapshot& snapshot_;
    const Thresholds& limits_;
    const Adapter* adapter_ = nullptr;
    std::vector<Finding> findings_;
    std::set<Counter> missing_; // counters that the driver does not have
    uint64_t unreadable_ = 0;   // queue pairs whose waiting work may not be read
    uint64_t quietQps_ = 0;     // that retransmitted, and no more than is usual
    uint64_t quietRetransmits_ = 0;
    std::map<std::pair<Severity, std::string>, uint64_t> alike_; // findings about single queue pairs so far
};

} // namespace eadm
