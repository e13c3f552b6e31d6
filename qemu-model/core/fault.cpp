// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault.h"

#include "text.h"

namespace erdma {

namespace {

constexpr std::string_view kDrop = "cmd-drop=";
constexpr std::string_view kFail = "cmd-fail=";
constexpr uint64_t kMaxSub = 3; // two bits in the command header
constexpr uint64_t kMaxOpcode = 255;
constexpr uint64_t kMaxStatus = 255;
constexpr uint64_t kMaxCount = UINT32_MAX;

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

} // namespace

std::optional<std::string> FaultPlan::parseRule(std::string_view item, std::string_view body, Rule& rule) {
    if (const auto count = splitTail(body, '*')) {
        rule.left = decimal(*count, 1, kMaxCount);
        if (!rule.left)
            return complain(item, "COUNT", "1 to 4294967295");
    }
    if (rule.verdict == Verdict::Fail) {
        const auto tail = splitTail(body, ':');
        const auto status = tail ? decimal(*tail, 1, kMaxStatus) : std::nullopt;
        if (!status)
            return complain(item, "STATUS", "1 to 255, written as cmd-fail=SUB/OP:STATUS");
        rule.status = static_cast<uint8_t>(*status);
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
        rule.opcode = static_cast<uint8_t>(*opcode);
    }
    return std::nullopt;
}

std::optional<std::string> FaultPlan::parseItem(std::string_view item) {
    if (item == "init-stuck") {
        initStuck_ = true;
        return std::nullopt;
    }
    if (item == "dead") {
        dead_ = true;
        return std::nullopt;
    }
    Rule rule;
    std::string_view body = item;
    if (item.starts_with(kDrop)) {
        rule.verdict = Verdict::Drop;
        body.remove_prefix(kDrop.size());
    } else if (item.starts_with(kFail)) {
        rule.verdict = Verdict::Fail;
        body.remove_prefix(kFail.size());
    } else {
        return "unknown fault \"" + std::string(item) +
               "\": write cmd-drop=SUB/OP[*COUNT], cmd-fail=SUB/OP:STATUS[*COUNT], init-stuck or dead, "
               "several separated by ';'";
    }
    if (auto error = parseRule(item, body, rule))
        return error;
    rules_.push_back(rule);
    return std::nullopt;
}

std::optional<std::string> FaultPlan::set(const std::string& text) {
    FaultPlan next;
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::string_view item = takeItem(rest, ';');
        if (item.empty())
            continue;
        if (auto error = next.parseItem(item))
            return error;
    }
    next.describe();
    *this = std::move(next);
    return std::nullopt;
}

FaultPlan::Verdict FaultPlan::onCommand(uint8_t sub, uint8_t opcode, uint8_t& status) {
    for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
        if (rule->sub != sub || (rule->opcode && *rule->opcode != opcode))
            continue;
        const Verdict verdict = rule->verdict;
        if (verdict == Verdict::Fail)
            status = rule->status;
        if (rule->left) {
            if (--*rule->left == 0)
                rules_.erase(rule);
            describe();
        }
        return verdict;
    }
    return Verdict::None;
}

void FaultPlan::describe() {
    text_.clear();
    const auto add = [this](const std::string& item) { text_ += (text_.empty() ? "" : ";") + item; };
    for (const Rule& rule : rules_) {
        std::string item(rule.verdict == Verdict::Drop ? kDrop : kFail);
        item += std::to_string(rule.sub) + "/" + (rule.opcode ? std::to_string(*rule.opcode) : "any");
        if (rule.verdict == Verdict::Fail)
            item += ":" + std::to_string(rule.status);
        if (rule.left)
            item += "*" + std::to_string(*rule.left);
        add(item);
    }
    if (initStuck_)
        add("init-stuck");
    if (dead_)
        add("dead");
}

} // namespace erdma
