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

struct Unit {
    std::string_view name;
    uint64_t factor;
};
constexpr Unit kTimes[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", kSecondNs}};
constexpr Unit kRates[] = {{"kbit", 1000}, {"mbit", 1000000}, {"gbit", kSecondNs}};

std::string complain(std::string_view part, std::string_view field, std::string_view rule) {
    return "link \"" + std::string(part) + "\": " + std::string(field) + " " + std::string(rule);
}

// A whole number and a unit.
template <size_t N>
std::optional<uint64_t> withUnit(std::string_view text, const Unit (&units)[N], uint64_t min, uint64_t max) {
    const auto letters = text.find_first_not_of("0123456789");
    if (letters == std::string_view::npos)
        return std::nullopt;
    for (const Unit& unit : units)
        if (text.substr(letters) == unit.name) {
            const auto count = decimal(text.substr(0, letters), 0, max / unit.factor);
            if (!count || *count * unit.factor < min)
                return std::nullopt;
            return *count * unit.factor;
        }
    return std::nullopt;
}

template <size_t N> std::string inUnits(uint64_t value, const Unit (&units)[N]) {
    const Unit* best = &units[0];
    for (const Unit& unit : units)
        if (value % unit.factor == 0)
            best = &unit;
    return std::to_string(value / best->factor) + std::string(best->name);
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

std::optional<std::string> parseItem(std::string_view part, std::string_view item, Settings& settings) {
    const auto equals = item.find('=');
    const std::string_view name = trimmed(item.substr(0, equals));
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : trimmed(item.substr(equals + 1));

    struct Chance {
        std::string_view name;
        uint32_t Settings::*field;
    };
    static constexpr Chance kChances[] = {{"loss", &Settings::loss},
                                          {"duplicate", &Settings::duplicate},
                                          {"corrupt", &Settings::corrupt},
                                          {"reorder", &Settings::reorder}};
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
            const auto time = withUnit(value, kTimes, 0, kMaxDelayNs);
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
                    "is none of loss=, delay=, jitter=, reorder=, duplicate=, corrupt=, rate= and cut");
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
        add("delay=" + inUnits(settings.delayNs, kTimes));
    if (settings.jitterNs)
        add("jitter=" + inUnits(settings.jitterNs, kTimes));
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
    plan = next;
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
