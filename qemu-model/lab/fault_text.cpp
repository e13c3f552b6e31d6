// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault_text.h"

#include <algorithm>
#include <charconv>

#include "seam.h"
#include "text.h"

namespace erdma {

namespace {

constexpr std::array<std::string_view, 5> kPrefixes = {
    "cmd-drop=", "cmd-fail=", "cmd-slow=", "irq-lose=", "db-lose="};                    // by Kind
constexpr std::array<std::string_view, 5> kDoorbells = {"sq", "rq", "cq", "eq", "cmd"}; // by Doorbell
constexpr std::string_view kPost = "post=";
constexpr uint64_t kMaxSub = 3; // two bits in the command header
constexpr uint64_t kMaxOpcode = 255;
constexpr uint64_t kMaxStatus = 255;
constexpr uint64_t kMaxDelayMs = 600000;
constexpr uint64_t kMaxCount = UINT32_MAX;
constexpr uint64_t kMaxPosts = 65536; // at once
constexpr uint64_t kMaxNumber = 0xFFFFF;
constexpr std::string_view kGrammar =
    "write cmd-drop=SUB/OP[+SKIP][*COUNT], cmd-fail=SUB/OP:STATUS[+SKIP][*COUNT], "
    "cmd-slow=SUB/OP:MS[+SKIP][*COUNT], irq-lose=VECTOR[+SKIP][*COUNT], db-lose=sq|rq|cq|eq|cmd[+SKIP][*COUNT], "
    "post=aeq|eqN|cqN|cmd:WORD,...[*COUNT], init-stuck or dead, "
    "several separated by ';'";

// Splits `text` at the last `mark`; the tail is nothing when there is no mark.
std::optional<std::string_view> splitTail(std::string_view& text, char mark) {
    const auto at = text.rfind(mark);
    if (at == std::string_view::npos)
        return std::nullopt;
    const std::string_view tail = text.substr(at + 1);
    text = text.substr(0, at);
    return tail;
}

std::string complain(std::string_view item, std::string_view part, std::string_view allowed) {
    return "fault \"" + std::string(item) + "\": " + std::string(part) + " must be " + std::string(allowed);
}

std::optional<uint32_t> hexadecimal(std::string_view text) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

using Kind = FaultPlan::Kind;
using Rule = FaultPlan::Rule;
using Injection = FaultPlan::Injection;

std::optional<std::string> parseCommand(std::string_view item, std::string_view body, Rule& rule) {
    if (rule.kind == Kind::FailCommand) {
        const auto tail = splitTail(body, ':');
        const auto status = tail ? decimal(*tail, 1, kMaxStatus) : std::nullopt;
        if (!status)
            return complain(item, "STATUS", "1 to 255, written as cmd-fail=SUB/OP:STATUS");
        rule.value = static_cast<uint32_t>(*status);
    } else if (rule.kind == Kind::DelayCommand) {
        const auto tail = splitTail(body, ':');
        const auto delay = tail ? decimal(*tail, 1, kMaxDelayMs) : std::nullopt;
        if (!delay)
            return complain(item, "MS", "1 to 600000 milliseconds, written as cmd-slow=SUB/OP:MS");
        rule.value = static_cast<uint32_t>(*delay);
    }
    const auto opcodeText = splitTail(body, '/');
    if (!opcodeText)
        return complain(item, "the command", "written as SUB/OP, for example 0/4 or 1/any");
    const auto sub = decimal(body, 0, kMaxSub);
    if (!sub)
        return complain(item, "SUB", "0 (RDMA) to 3; 1 is COMMON");
    rule.sub = static_cast<uint8_t>(*sub);
    if (*opcodeText != "any") {
        const auto opcode = decimal(*opcodeText, 0, kMaxOpcode);
        if (!opcode)
            return complain(item, "OP", "0 to 255 or \"any\"");
        rule.number = static_cast<uint32_t>(*opcode);
    }
    return std::nullopt;
}

std::optional<std::string> parseRule(std::string_view item, std::string_view body, Rule& rule) {
    if (const auto count = splitTail(body, '*')) {
        rule.left = decimal(*count, 1, kMaxCount);
        if (!rule.left)
            return complain(item, "COUNT", "1 to 4294967295");
    }
    if (const auto skip = splitTail(body, '+')) {
        const auto value = decimal(*skip, 0, kMaxCount);
        if (!value)
            return complain(item, "SKIP", "0 to 4294967295");
        rule.skip = *value;
    }
    if (rule.kind == Kind::LoseDoorbell) {
        const auto* name = std::ranges::find(kDoorbells, body);
        if (name == kDoorbells.end())
            return complain(item, "the doorbell", "sq, rq, cq, eq or cmd");
        rule.number = static_cast<uint32_t>(name - kDoorbells.begin());
        return std::nullopt;
    }
    if (rule.kind == Kind::LoseInterrupt) {
        const auto vector = decimal(body, 0, ERDMA_MAX_VECTORS - 1);
        if (!vector && body != "any")
            return complain(item, "VECTOR", "0 to 31 or \"any\"");
        if (vector)
            rule.number = static_cast<uint32_t>(*vector);
        return std::nullopt;
    }
    return parseCommand(item, body, rule);
}

std::optional<std::string> parseInjection(std::string_view item, std::string_view body, FaultPlan& plan) {
    Injection injection;
    if (const auto text = splitTail(body, '*')) {
        const auto count = decimal(*text, 1, kMaxPosts);
        if (!count)
            return complain(item, "COUNT", "1 to 65536");
        injection.count = *count;
    }
    auto words = splitTail(body, ':');
    if (!words)
        return complain(item, "the entry", "written as QUEUE:WORD,WORD,... with hexadecimal words");
    const auto numbered = [&](std::string_view name, Injection::Queue queue) {
        const auto number = body.starts_with(name) ? decimal(body.substr(name.size()), 0, kMaxNumber) : std::nullopt;
        if (number) {
            injection.queue = queue;
            injection.number = static_cast<uint32_t>(*number);
        }
        return number.has_value();
    };
    if (body == "cmd")
        injection.queue = Injection::Queue::Command;
    else if (body != "aeq" && !numbered("eq", Injection::Queue::Event) && !numbered("cq", Injection::Queue::Completion))
        return complain(item, "the queue", "aeq, eqN, cqN or cmd");
    const bool events = injection.queue == Injection::Queue::Async || injection.queue == Injection::Queue::Event;
    const size_t most = events ? 4 : injection.words.size();
    for (size_t i = 0; !words->empty(); ++i) {
        const auto value = i < most ? hexadecimal(takeItem(*words, ',')) : std::nullopt;
        if (!value)
            return complain(item, "WORD", events ? "hexadecimal, at most 4" : "hexadecimal, at most 8");
        injection.words[i] = *value;
    }
    plan.add(injection);
    return std::nullopt;
}

std::optional<std::string> parseItem(std::string_view item, FaultPlan& plan) {
    if (item == "init-stuck") {
        plan.stickInit();
        return std::nullopt;
    }
    if (item == "dead") {
        plan.die();
        return std::nullopt;
    }
    if (item.starts_with(kPost))
        return parseInjection(item, item.substr(kPost.size()), plan);
    const auto* prefix = std::ranges::find_if(kPrefixes, [&](std::string_view p) { return item.starts_with(p); });
    if (prefix == kPrefixes.end())
        return "unknown fault \"" + std::string(item) + "\": " + std::string(kGrammar);
    Rule rule;
    rule.kind = static_cast<Kind>(prefix - kPrefixes.begin());
    if (auto error = parseRule(item, item.substr(prefix->size()), rule))
        return error;
    plan.add(rule);
    return std::nullopt;
}

} // namespace

std::optional<std::string> parseFaults(std::string_view text, FaultPlan& plan) {
    FaultPlan next;
    while (!text.empty()) {
        const std::string_view item = takeItem(text, ';');
        if (item.empty())
            continue;
        if (auto error = parseItem(item, next))
            return error;
    }
    plan = std::move(next);
    return std::nullopt;
}

std::optional<std::string> setFaults(Device& device, std::string_view text) {
    FaultPlan plan;
    if (auto error = parseFaults(text, plan))
        return error;
    if (!device.setFaults(std::move(plan)))
        return "fault \"post=...\": the device has no such queue now";
    return std::nullopt;
}

std::string describeFaults(const FaultPlan& plan) {
    std::string text;
    const auto add = [&text](const std::string& item) { text += (text.empty() ? "" : ";") + item; };
    for (const Rule& rule : plan.rules()) {
        std::string item(kPrefixes[static_cast<size_t>(rule.kind)]);
        if (FaultPlan::isAboutCommands(rule.kind))
            item += std::to_string(rule.sub) + "/";
        if (rule.kind == Kind::LoseDoorbell)
            item += kDoorbells[*rule.number];
        else
            item += rule.number ? std::to_string(*rule.number) : "any";
        if (rule.value != 0)
            item += ":" + std::to_string(rule.value);
        if (rule.skip != 0)
            item += "+" + std::to_string(rule.skip);
        if (rule.left)
            item += "*" + std::to_string(*rule.left);
        add(item);
    }
    if (plan.initStuck())
        add("init-stuck");
    if (plan.dead())
        add("dead");
    return text;
}

} // namespace erdma
