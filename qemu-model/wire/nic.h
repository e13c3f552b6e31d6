// SPDX-License-Identifier: GPL-2.0-or-later
// The adapter's place in the paired NIC's wire: the filter that every frame passes (wire.md 1.2).
#pragma once

#include <string>

#include "device.h"
#include "impairment.h"
#include "paired_nic.h"

namespace erdma {

class Nic final : public PairedNic {
public:
    explicit Nic(Device& device) : device_(device), impairment_(device.counters()) {}

    bool wants(erdma_side side, ConstBytes head, size_t frameBytes) const override;
    bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) override;
    void endOfFrames() override {}
    Claim connect(QueuePair&) override { return Claim::Unknown; }
    void setMtu(uint16_t) override {}
    uint64_t deadline() const override { return impairment_.deadline(); }
    void onTimer(uint64_t nowNs) override;
    void runPending() override {}
    void reset() override {}
    std::optional<std::string> setLink(const std::string& text) override { return impairment_.set(text); }
    const std::string& link() const override { return impairment_.text(); }
    std::string connections() const override { return "[]"; }

private:
    Device& device_;
    Impairment impairment_;
};

} // namespace erdma
