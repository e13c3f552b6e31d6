// SPDX-License-Identifier: GPL-2.0-or-later
#include "impairment.h"

#include <algorithm>

#include "byteorder.h"
#include "packet.h"
#include "text.h"

namespace erdma {

namespace {

constexpr uint32_t kMillion = 1000000;
constexpr uint64_t kSecondNs = 1000000000;
constexpr uint64_t kMaxDelayNs = 60 * kSecondNs;
constexpr uint64_t kMaxBitsPerSecond = 1000 * kSecondNs; // 1000 gbit
constexpr uint64_t kReorderNs = 10000000;
constexpr uint64_t kReorderFrames = 3;
constexpr uint64_t kLineQueueNs = 100000000; // frames that wait longer for the line are dropped
constexpr size_t kMaxBytes = size_t{32} << 20;
constexpr size_t kMaxFrames = 32768;

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

// A receiver must be able to see the damage: whatever stood in for the checksum so far is replaced by the checksum.
void finishChecksum(std::vector<std::byte>& frame, erdma_offload& offload) {
    const size_t start = offload.checksum_start;
    const size_t field = start + offload.checksum_offset;
    if (offload.needs_checksum && field + 2 <= frame.size())
        storeBe16(frame, field, checksumFold(checksumAdd(ConstBytes(frame).subspan(start))));
    offload = {};
}

} // namespace

std::optional<std::string> Impairment::parseItem(std::string_view part, std::string_view item, Settings& settings) {
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

std::optional<std::string> Impairment::parsePart(std::string_view part, Plan& plan) {
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

std::optional<std::string> Impairment::parse(std::string_view text, Plan& plan) {
    while (!text.empty()) {
        const std::string_view part = takeItem(text, ';');
        if (part.empty())
            continue;
        if (auto error = parsePart(part, plan))
            return error;
    }
    return std::nullopt;
}

std::string Impairment::describe(const Settings& settings) {
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

std::string Impairment::describe(const Plan& plan) {
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

std::optional<std::string> Impairment::set(std::string_view text) {
    Plan plan;
    if (auto error = parse(text, plan))
        return error;
    for (size_t i = 0; i < paths_.size(); ++i) {
        paths_[i].settings = plan.sides[i];
        paths_[i].dice.seed(plan.seed * paths_.size() + i);
        paths_[i].lineFreeNs = 0;
    }
    text_ = describe(plan);
    configured_ = !text_.empty();
    return std::nullopt;
}

// Nothing is thrown for what is not set, so that one setting's dice do not depend on the others that are zero.
bool Impairment::Path::rolls(uint32_t ofMillion) { return ofMillion != 0 && dice() % kMillion < ofMillion; }

void Impairment::Path::insert(uint64_t dueNs, Held&& held) {
    queue.emplace(std::pair{dueNs, order++}, std::move(held));
}

void Impairment::push(erdma_side side, ConstBytes frame, const erdma_offload& offload, uint64_t nowNs) {
    Path& path = paths_[side];
    const Settings& settings = path.settings;

    if (settings.cut) {
        ++counters_[Counter::LinkCut];
        return;
    }
    if (path.rolls(settings.loss)) {
        ++counters_[Counter::LinkLost];
        return;
    }
    Held held{{frame.begin(), frame.end()}, offload};
    if (path.rolls(settings.corrupt) && !held.frame.empty()) {
        ++counters_[Counter::LinkCorrupted];
        finishChecksum(held.frame, held.offload);
        const uint64_t bit = path.dice() % (held.frame.size() * 8);
        held.frame[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    if (path.rolls(settings.duplicate)) {
        ++counters_[Counter::LinkDuplicated];
        enqueue(path, Held(held), nowNs);
    }
    enqueue(path, std::move(held), nowNs);
}

void Impairment::enqueue(Path& path, Held&& held, uint64_t nowNs) {
    const Settings& settings = path.settings;
    const size_t size = held.frame.size();
    uint64_t due = nowNs;

    if (path.frames >= kMaxFrames || path.bytes + size > kMaxBytes ||
        (settings.bitsPerSecond && path.lineFreeNs > nowNs + kLineQueueNs)) {
        ++counters_[Counter::LinkOverflows];
        return;
    }
    if (settings.bitsPerSecond) {
        path.lineFreeNs = std::max(path.lineFreeNs, nowNs) + size * 8 * kSecondNs / settings.bitsPerSecond;
        due = path.lineFreeNs;
    }
    due += settings.delayNs;
    if (settings.jitterNs)
        due = due - settings.jitterNs + path.dice() % (2 * settings.jitterNs + 1);
    if (settings.delayNs)
        ++counters_[Counter::LinkDelayed];
    due = std::max(due, path.lastDueNs);

    path.bytes += size;
    ++path.frames;
    if (path.rolls(settings.reorder) && !path.passed) {
        ++counters_[Counter::LinkReordered];
        path.passedLeft = static_cast<uint32_t>(1 + path.dice() % kReorderFrames);
        path.passedUntilNs = due + kReorderNs;
        path.passed = std::move(held);
        return;
    }
    path.lastDueNs = due;
    path.insert(due, std::move(held));
    if (path.passed && --path.passedLeft == 0) {
        path.insert(due, std::move(*path.passed));
        path.passed.reset();
    }
}

uint64_t Impairment::deadline() const {
    uint64_t next = ERDMA_TIMER_OFF;
    for (const Path& path : paths_) {
        if (!path.queue.empty())
            next = std::min(next, path.queue.begin()->first.first);
        if (path.passed)
            next = std::min(next, path.passedUntilNs);
    }
    return next;
}

void Impairment::onTimer(uint64_t nowNs, const Sink& sink) {
    for (uint64_t due = deadline(); due <= nowNs; due = deadline()) {
        for (size_t side = 0; side < paths_.size(); ++side) {
            Path& path = paths_[side];
            if (path.passed && path.passedUntilNs <= due) {
                path.insert(path.passedUntilNs, std::move(*path.passed));
                path.passed.reset();
            }
            if (!path.queue.empty() && path.queue.begin()->first.first <= due)
                deliverOne(side, sink);
        }
    }
}

void Impairment::deliverOne(size_t side, const Sink& sink) {
    Path& path = paths_[side];
    const auto node = path.queue.extract(path.queue.begin());
    const Held& held = node.mapped();
    path.bytes -= held.frame.size();
    --path.frames;
    sink(static_cast<erdma_side>(side), held.frame, held.offload);
}

} // namespace erdma
