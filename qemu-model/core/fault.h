// SPDX-License-Identifier: GPL-2.0-or-later
// Faults that a test or a user's CI switches on at run time (grammar: capi.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hw.h"

namespace erdma {

class FaultPlan {
public:
    // Parses and replaces the plan; on a bad text returns the sentence for the user and changes nothing.
    std::optional<std::string> set(const std::string& text);
    // What is still in force, in the same grammar; used-up rules are gone.
    const std::string& text() const { return text_; }

    enum class Verdict : uint8_t { None, Drop, Fail };
    // Consumes one count of the first matching rule.  For Fail, `status` is set.
    Verdict onCommand(uint8_t sub, uint8_t opcode, uint8_t& status);
    bool initStuck() const { return initStuck_; }
    bool dead() const { return dead_; }

private:
    struct Rule {
        Verdict verdict = Verdict::None;
        uint8_t sub = 0;
        std::optional<uint8_t> opcode; // nothing: any
        uint8_t status = 0;
        std::optional<uint64_t> left; // nothing: for ever
    };
    std::optional<std::string> parseItem(std::string_view item);
    static std::optional<std::string> parseRule(std::string_view item, std::string_view body, Rule& rule);
    void describe();

    std::vector<Rule> rules_;
    bool initStuck_ = false;
    bool dead_ = false;
    std::string text_;
};

} // namespace erdma
