// SPDX-License-Identifier: GPL-2.0-or-later
#include "link_text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text.h"

namespace erdma {

namespace {

using Settings = Impairment::Settings;
using Plan = Impairment::Plan;

constexpr uint32_t kMillion = 1000000;
constexpr uint64_t kSecondNs = 1000000000;
constexpr uint64_t kMaxDelayNs = 60 * kSecondNs;
constexpr uint64_t kMaxBitsPerSecond = 1000 * kSecondNs; // 1000 gbit

constexpr std::array<std::string_view, 2> kSideNames = {"to-wire", "to-guest"};
constexpr std::string_view kBoth = "both";

constexpr Unit kRates[] = {{"kbit", 1000}, {"mbit", 1000000}, {"gbit", kSecondNs}};

std::string complain(std::string_view part, std::string_view field, std::string_view rule) {
    return "link \"" + std::string(part) + "\": " + std::string(field) + " " + std::string(rule);
}

// "2%", "0.25%": millionths, so four decimals at most.
std::optional<uint32_t> percentage(std::string_view text) {
    if (!text.ends_with('%'))
        return std::nullopt;
    text.remove_suffix(1);
    const auto point = text.find('.');
    const auto whole = decimal(text.substr(0, point), 0, 100);
    if (!whole)
        return std::nullopt;
    uint64_t millionths = *whole * (kMillion / 100);
    if (point != std::string_view::npos) {
        const std::string_view digits = text.substr(point + 1);
        const auto fraction = decimal(digits, 0, 9999);
        if (!fraction || digits.size() > 4)
            return std::nullopt;
        uint64_t scaled = *fraction;
        for (size_t i = digits.size(); i < 4; ++i)
            scaled *= 10;
        millionths += scaled;
    }
    if (millionths > kMillion)
        return std::nullopt;
    return static_cast<uint32_t>(millionths);
}

std::string percentText(uint32_t millionths) {
    std::string text = std::to_string(millionths / (kMillion / 100));
    std::string digits = std::to_string(kMillion / 100 + millionths % (kMillion / 100)).substr(1);
    digits.erase(digits.find_last_not_of('0') + 1);
    return text + (digits.empty() ? "" : "." + digits) + "%";
}

struct Chance {
    std::string_view name;
    uint32_t Settings::*field;
};
constexpr Chance kChances[] = {{"loss", &Settings::loss},
                               {"duplicate", &Settings::duplicate},
                               {"corrupt", &Settings::corrupt},
                               {"reorder", &Settings::reorder}};

constexpr std::array<std::string_view, 5> kActions = {"drop", "corrupt", "duplicate", "ecn", "delay"};
constexpr std::array<std::string_view, 4> kKinds = {"any", "data", "ack", "retransmission"};
// By the numbers of the wire (wire.md 4.1).
constexpr std::array<std::string_view, 14> kOpcodes = {
    "write",     "read-request", "read-response", "send",           "send-inv",        "send-se",  "send-se-inv",
    "terminate", "immediate",    "immediate-se",  "atomic-request", "atomic-response", "send-imm", "send-imm-se"};

template <size_t N> std::optional<size_t> indexOf(std::string_view word, const std::array<std::string_view, N>& words) {
    const auto found = std::ranges::find(words, word);
    return found == words.end() ? std::nullopt : std::optional(static_cast<size_t>(found - words.begin()));
}

template <size_t N> std::string listed(const std::array<std::string_view, N>& words) {
    std::string text;
    for (size_t i = 0; i < N; ++i)
        text += (i == 0 ? "" : i + 1 < N ? ", " : " or ") + std::string(words[i]);
    return text;
}

// "5", "5-7", "5-": which of the packets that match.
bool parseCounts(std::string_view text, PacketRule& rule) {
    const auto dash = text.find('-');
    const auto first = decimal(text.substr(0, dash), 1, UINT64_MAX);
    if (!first)
        return false;
    rule.first = rule.last = *first;
    if (dash == std::string_view::npos)
        return true;
    const std::string_view rest = text.substr(dash + 1);
    const auto last = rest.empty() ? std::optional(UINT64_MAX) : decimal(rest, *first, UINT64_MAX);
    rule.last = last.value_or(0);
    return last.has_value();
}

// A field of a rule's packets, "conn=2".
std::optional<std::string> parseField(std::string_view part, std::string_view field, PacketRule& rule) {
    const auto equals = field.find('=');
    const std::string_view name = field.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : field.substr(equals + 1);
    if (name == "conn") {
        const auto number = decimal(value, 1, UINT32_MAX);
        if (!number)
            return complain(part, name, "must be the number of a connection, the first is 1");
        rule.connection = static_cast<uint32_t>(*number);
    } else if (name == "opcode") {
        const auto opcode = indexOf(value, kOpcodes);
        if (!opcode)
            return complain(part, name, "must be " + listed(kOpcodes));
        rule.opcode = static_cast<uint8_t>(*opcode);
    } else if (name == "msn") {
        const auto number = decimal(value, 0, UINT32_MAX);
        if (!number)
            return complain(part, name, "must be a number of 32 bits");
        rule.msn = static_cast<uint32_t>(*number);
    } else if (name == "psn") {
        return complain(part, name, "is a field of RoCE, which this adapter does not speak");
    } else {
        return complain(part, "\"" + std::string(field) + "\"", "is none of conn=, opcode= and msn=");
    }
    return std::nullopt;
}

// Whether an item's value is a rule for chosen packets and not a number.
bool isRule(std::string_view name, std::string_view value) {
    if (name == "delay")
        return value.find('/') != std::string_view::npos;
    return indexOf(name, kActions) && (name == "drop" || name == "ecn" || !value.ends_with('%'));
}

// "data/conn=2/opcode=send#5-7", for a delay with "TIME/" before it.
std::optional<std::string> parseRule(std::string_view part, std::string_view name, std::string_view value,
                                     Settings& settings) {
    PacketRule rule;
    rule.action = static_cast<PacketRule::Action>(*indexOf(name, kActions));
    if (rule.action == PacketRule::Action::Delay) {
        const auto time = withUnit(takeItem(value, '/'), kTimeUnits, 1, kMaxDelayNs);
        if (!time)
            return complain(part, name, "of chosen packets must be 1ns to 60s, for example delay=50ms/data#5");
        rule.delayNs = *time;
    }
    const auto hash = value.find('#');
    std::string_view fields = value.substr(0, hash);
    const auto kind = indexOf(takeItem(fields, '/'), kKinds);
    const bool isChance = std::ranges::any_of(kChances, [name](const Chance& chance) { return chance.name == name; });
    if (!kind)
        return complain(part, name,
                        (isChance
                             ? "must be 0% to 100%, for example " + std::string(name) + "=1.5%, or chosen packets: "
                             : "must be chosen packets: ") +
                            listed(kKinds) + ", for example " + std::string(name) + "=data#5");
    rule.kind = static_cast<PacketRule::Kind>(*kind);
    while (!fields.empty())
        if (auto error = parseField(part, takeItem(fields, '/'), rule))
            return error;
    if (hash != std::string_view::npos && !parseCounts(trimmed(value.substr(hash + 1)), rule))
        return complain(part, name, "must say which packets as #5, #5-7 or #5-, the first is 1");
    if (settings.rules.size() >= PacketRules::kMaxRules)
        return complain(part, name,
                        "is one too many: " + std::to_string(PacketRules::kMaxRules) +
                            " for chosen packets are possible");
    settings.rules.push_back(rule);
    return std::nullopt;
}

std::string describe(const PacketRule& rule) {
    std::string text(kActions[static_cast<size_t>(rule.action)]);
    text += "=";
    if (rule.action == PacketRule::Action::Delay)
        text += inUnits(rule.delayNs, kTimeUnits) + "/";
    text += kKinds[static_cast<size_t>(rule.kind)];
    if (rule.connection)
        text += "/conn=" + std::to_string(rule.connection);
    if (rule.opcode)
        text += "/opcode=" + std::string(kOpcodes[*rule.opcode]);
    if (rule.msn)
        text += "/msn=" + std::to_string(*rule.msn);
    if (rule.first == 1 && rule.last == UINT64_MAX)
        return text;
    text += "#" + std::to_string(rule.first);
    if (rule.last != rule.first)
        text += "-" + (rule.last == UINT64_MAX ? "" : std::to_string(rule.last));
    return text;
}

std::optional<std::string> parseItem(std::string_view part, std::string_view item, Settings& settings) {
    const auto equals = item.find('=');
    const std::string_view name = trimmed(item.substr(0, equals));
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : trimmed(item.substr(equals + 1));

    if (isRule(name, value))
        return parseRule(part, name, value, settings);
    for (const Chance& chance : kChances)
        if (name == chance.name) {
            const auto share = percentage(value);
            if (!share)
                return complain(part, name,
                                "must be 0% to 100% with at most four decimals, for example " + std::string(name) +
                                    "=1.5%");
            settings.*chance.field = *share;
            return std::nullopt;
        }
    for (const auto& [title, field] :
         {std::pair{"delay", &Settings::delayNs}, std::pair{"jitter", &Settings::jitterNs}})
        if (name == title) {
            const auto time = withUnit(value, kTimeUnits, 0, kMaxDelayNs);
            if (!time)
                return complain(part, name,
                                "must be 0ns to 60s, in ns, us, ms or s, for example " + std::string(name) + "=50ms");
            settings.*field = *time;
            return std::nullopt;
        }
    if (name == "rate") {
        const auto rate = withUnit(value, kRates, 1000, kMaxBitsPerSecond);
        if (!rate)
            return complain(part, name, "must be 1kbit to 1000gbit, in kbit, mbit or gbit, for example rate=100mbit");
        settings.bitsPerSecond = *rate;
        return std::nullopt;
    }
    if (name == "cut" && equals == std::string_view::npos) {
        settings.cut = true;
        return std::nullopt;
    }
    return complain(part, "\"" + std::string(item) + "\"",
                    "is none of loss=, delay=, jitter=, reorder=, duplicate=, corrupt=, rate=, drop=, ecn= and cut");
}

std::optional<std::string> parsePart(std::string_view part, Plan& plan) {
    constexpr std::string_view kSeed = "seed=";
    if (part.starts_with(kSeed)) {
        const auto seed = decimal(part.substr(kSeed.size()), 0, UINT64_MAX);
        if (!seed)
            return complain(part, "seed", "must be a number of 64 bits");
        plan.seed = *seed;
        return std::nullopt;
    }
    const auto colon = part.find(':');
    const std::string_view side = trimmed(part.substr(0, colon));
    bool known = false;
    for (size_t i = 0; colon != std::string_view::npos && i < kSideNames.size(); ++i) {
        if (side != kBoth && side != kSideNames[i])
            continue;
        known = true;
        Settings& settings = plan.sides[i];
        std::string_view rest = part.substr(colon + 1);
        do {
            if (auto error = parseItem(part, takeItem(rest, ','), settings))
                return error;
        } while (!rest.empty());
        if (settings.jitterNs > settings.delayNs)
            return complain(part, "jitter", "must not be more than delay");
    }
    if (!known)
        return complain(part, "the direction",
                        "must be to-wire:, to-guest: or both:, for example both:loss=1%,delay=50ms;seed=7");
    return std::nullopt;
}

std::string describe(const Settings& settings) {
    std::string text;
    const auto add = [&text](const std::string& item) { text += (text.empty() ? "" : ",") + item; };
    if (settings.loss)
        add("loss=" + percentText(settings.loss));
    if (settings.delayNs)
        add("delay=" + inUnits(settings.delayNs, kTimeUnits));
    if (settings.jitterNs)
        add("jitter=" + inUnits(settings.jitterNs, kTimeUnits));
    if (settings.reorder)
        add("reorder=" + percentText(settings.reorder));
    if (settings.duplicate)
        add("duplicate=" + percentText(settings.duplicate));
    if (settings.corrupt)
        add("corrupt=" + percentText(settings.corrupt));
    if (settings.bitsPerSecond)
        add("rate=" + inUnits(settings.bitsPerSecond, kRates));
    if (settings.cut)
        add("cut");
    for (const PacketRule& rule : settings.rules)
        add(describe(rule));
    return text;
}

} // namespace

std::optional<std::string> parseLink(std::string_view text, Plan& plan) {
    Plan next;
    while (!text.empty()) {
        const std::string_view part = takeItem(text, ';');
        if (part.empty())
            continue;
        if (auto error = parsePart(part, next))
            return error;
    }
    plan = std::move(next);
    return std::nullopt;
}

std::optional<std::string> setLink(Impairment& link, std::string_view text) {
    Impairment::Plan plan;
    if (auto error = parseLink(text, plan))
        return error;
    link.set(plan);
    return std::nullopt;
}

std::string describeLink(const Plan& plan) {
    std::string text;
    const auto add = [&text](std::string_view side, const std::string& items) {
        if (!items.empty())
            text += (text.empty() ? "" : ";") + std::string(side) + ":" + items;
    };
    if (plan.sides[0] == plan.sides[1]) {
        add(kBoth, describe(plan.sides[0]));
    } else {
        for (size_t i = 0; i < kSideNames.size(); ++i)
            add(kSideNames[i], describe(plan.sides[i]));
    }
    if (!text.empty() && plan.seed != Plan{}.seed)
        text += ";seed=" + std::to_string(plan.seed);
    return text;
}

} // namespace erdma
