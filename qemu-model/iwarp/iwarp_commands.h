// SPDX-License-Identifier: GPL-2.0-or-later
// The commands of an iWARP adapter that another protocol has in another form (adapter.md 4.9, 4.10).
#pragma once

#include "personality.h"
#include "seam.h"

namespace erdma {

class IwarpCommands final : public Personality {
public:
    explicit IwarpCommands(const erdma_config& config) : config_(config) {} // kept by reference

    uint32_t number() const override { return 0; }
    uint64_t capabilities() const override;
    Status modify(QueuePair& qp, ConstBytes request) override;
    Status reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) override;

private:
    const erdma_config& config_;
};

} // namespace erdma
