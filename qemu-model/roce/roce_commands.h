// SPDX-License-Identifier: GPL-2.0-or-later
// The commands of a RoCEv2 adapter (adapter.md 13.3).
#pragma once

#include "personality.h"
#include "roce.h"

namespace erdma {

class RoceCommands final : public Personality {
public:
    explicit RoceCommands(Roce& roce) : roce_(roce) {}

    uint32_t number() const override { return 1; }
    uint64_t capabilities() const override;
    uint32_t attributes() const override;
    const char* commandName(uint8_t opcode) const override;
    CommandReply command(uint8_t opcode, ConstBytes request) override;
    Status prepare(ConstBytes request, QpConfig& config) override;
    void created(QueuePair& qp) override { roce_.add(qp); }
    void destroyed(uint32_t qpn) override { roce_.remove(qpn); }
    Status modify(QueuePair& qp, ConstBytes request) override;
    Status reflush(QueuePair& qp, uint16_t sqPi, uint16_t rqPi) override;

private:
    Roce& roce_;
};

} // namespace erdma
