// SPDX-License-Identifier: GPL-2.0-or-later
// Faults that a test or a user's CI switches on at run time: what goes wrong, and when.  ../lab/fault_text.h reads them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "hw.h"

namespace erdma {

enum class Doorbell : uint8_t { Send, Receive, Completion, Event, Command };

class FaultPlan {
public:
    // Entries that nothing caused, put into a queue at once.
    struct Injection {
        enum class Queue : uint8_t { Async, Event, Completion, Command };
        Queue queue = Queue::Async;
        uint32_t number = 0; // EQN or CQN
        std::array<uint32_t, 8> words{};
        uint64_t count = 1;
    };

    enum class Kind : uint8_t { DropCommand, FailCommand, DelayCommand, LoseInterrupt, LoseDoorbell };
    struct Rule {
        Kind kind = Kind::DropCommand;
        uint8_t sub = 0;
        std::optional<uint32_t> number; // opcode, vector or doorbell; nothing: any
        uint32_t value = 0;             // status or milliseconds
        uint64_t skip = 0;              // as many pass before
        std::optional<uint64_t> left;   // nothing: for ever
    };
    void add(const Rule& rule) { rules_.push_back(rule); }
    void add(const Injection& injection) { injections_.push_back(injection); }
    void stickInit() { initStuck_ = true; }
    void die() { dead_ = true; }

    // What is still in force: rules that are used up are gone.
    const std::vector<Rule>& rules() const { return rules_; }
    // What was asked for at once.
    const std::vector<Injection>& injections() const { return injections_; }

    enum class CommandFate : uint8_t { None, Drop, Fail, Delay };
    // Consumes one count of the first matching rule.  `value` is the status for Fail, milliseconds for Delay.
    CommandFate onCommand(uint8_t sub, uint8_t opcode, uint32_t& value);
    // Is this one lost?  Consumes one count of the first matching rule.
    bool losesInterrupt(uint32_t vector) { return take(Kind::LoseInterrupt, vector); }
    bool losesDoorbell(Doorbell kind) { return take(Kind::LoseDoorbell, static_cast<uint32_t>(kind)); }
    bool initStuck() const { return initStuck_; } // DEV_CTRL.INIT never reaches INIT_DONE
    bool dead() const { return dead_; }           // registers read all ones
    static bool isAboutCommands(Kind kind) {
        return kind == Kind::DropCommand || kind == Kind::FailCommand || kind == Kind::DelayCommand;
    }

private:
    // The first matching rule that lets no more pass; the others count what they let pass.
    template <typename Predicate> std::vector<Rule>::iterator hit(Predicate matches);
    bool take(Kind kind, uint32_t number);
    void use(std::vector<Rule>::iterator rule);

    std::vector<Rule> rules_;
    std::vector<Injection> injections_;
    bool initStuck_ = false;
    bool dead_ = false;
};

} // namespace erdma
