// SPDX-License-Identifier: GPL-2.0-or-later
// Faults that a test or a user's CI switches on at run time (grammar: capi.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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

    // Parses and replaces the plan; on a bad text returns the sentence for the user and changes nothing.
    std::optional<std::string> set(const std::string& text);
    // What is still in force, in the same grammar; used-up rules and injections are gone.
    const std::string& text() const { return text_; }
    // What the last set() asked for.
    const std::vector<Injection>& injections() const { return injections_; }

    enum class Verdict : uint8_t { None, Drop, Fail, Delay };
    // Consumes one count of the first matching rule.  `value` is the status for Fail, milliseconds for Delay.
    Verdict onCommand(uint8_t sub, uint8_t opcode, uint32_t& value);
    // Is this one lost?  Consumes one count of the first matching rule.
    bool losesInterrupt(uint32_t vector) { return take(Kind::LoseInterrupt, vector); }
    bool losesDoorbell(Doorbell kind) { return take(Kind::LoseDoorbell, static_cast<uint32_t>(kind)); }
    bool initStuck() const { return initStuck_; }
    bool dead() const { return dead_; }

private:
    enum class Kind : uint8_t { DropCommand, FailCommand, DelayCommand, LoseInterrupt, LoseDoorbell };
    struct Rule {
        Kind kind = Kind::DropCommand;
        uint8_t sub = 0;
        std::optional<uint32_t> number; // opcode, vector or doorbell; nothing: any
        uint32_t value = 0;             // status or milliseconds
        uint64_t skip = 0;              // as many pass before
        std::optional<uint64_t> left;   // nothing: for ever
    };
    std::optional<std::string> parseItem(std::string_view item);
    std::optional<std::string> parseInjection(std::string_view item, std::string_view body);
    static std::optional<std::string> parseRule(std::string_view item, std::string_view body, Rule& rule);
    static std::optional<std::string> parseCommand(std::string_view item, std::string_view body, Rule& rule);
    // The first matching rule that lets no more pass; the others count what they let pass.
    template <typename Predicate> std::vector<Rule>::iterator hit(Predicate matches);
    static bool isAboutCommands(Kind kind);
    bool take(Kind kind, uint32_t number);
    void use(std::vector<Rule>::iterator rule);
    void describe();

    std::vector<Rule> rules_;
    std::vector<Injection> injections_;
    bool initStuck_ = false;
    bool dead_ = false;
    std::string text_;
};

} // namespace erdma
