// SPDX-License-Identifier: GPL-2.0-or-later
#include "finding.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <vector>

namespace erdma::check {

namespace {

constexpr std::array<KindFacts, static_cast<size_t>(Kind::Count)> kKinds = {{
    {"source-changed", Severity::Error,
     "Leave the memory of a request alone until its completion was polled; copy the data, or use another buffer."},
    {"read-too-early", Severity::Error,
     "Do not touch a buffer between posting it and the completion: prepare it before it is posted, read it after."},
    {"sink-overlap", Severity::Error, "Give each outstanding receive, read and atomic memory of its own."},
    {"unordered-reuse", Severity::Error,
     "Wait for the completion of the read before its data is used, or set IBV_SEND_FENCE on the request that sends "
     "it."},
    {"stale-key", Severity::Error,
     "Deregister memory only when nobody uses its keys any more, the peer included, and forget keys with their "
     "region."},
    {"out-of-bounds", Severity::Error, "Compare address and length with the region that the key stands for."},
    {"wrong-rights", Severity::Error,
     "Register the memory with the rights that the access needs (IBV_ACCESS_*), or use the key of another region."},
    {"wrong-pd", Severity::Error, "Make region and queue pair in the same protection domain."},
    {"cq-overflow", Severity::Error,
     "Make the completion queue as large as all requests together that may complete into it, or post fewer at a time."},
    {"sq-overrun", Severity::Error, "Ask for a larger max_send_wr, or poll completions before more is posted."},
    {"unsignalled-full", Severity::Error,
     "Signal at least one request in max_send_wr (IBV_SEND_SIGNALED); its completion frees those before it as well."},
    {"destroyed-busy", Severity::Error,
     "Poll the completions of what was posted before queue pair, region or connection are given up."},
    {"read-source-changed", Severity::Warning,
     "Tell the peer when memory may be read (a message, a version before and after the data), and when not."},
    {"shared-sink", Severity::Warning,
     "Several outstanding requests have the same buffer: fine only when nobody looks at the data."},
    {"posted-after-error", Severity::Warning,
     "Look at the status of each completion; a queue pair that failed once does nothing any more."},
    {"cq-nearly-full", Severity::Advice, "Poll more often, or make the completion queue larger."},
    {"receiver-late", Severity::Advice, "Post more receives ahead: the sender waited for buffers."},
    {"reads-one-by-one", Severity::Advice,
     "Connect with a larger initiator_depth and responder_resources: reads waited for one another."},
    {"no-inline", Severity::Advice,
     "Send small messages inline (IBV_SEND_INLINE): the adapter needs not fetch them, and the buffer is free at once."},
    {"register-often", Severity::Advice,
     "Register memory once and keep it: registration costs more than the transfer."},
    {"signal-all", Severity::Advice,
     "Signal one request in several: each completion costs the adapter a write and the program a poll."},
    {"tiny-messages", Severity::Advice,
     "Write what lies side by side with one request, with several segments if need be."},
    {"one-at-a-time", Severity::Advice,
     "Post the next request before the one before is complete: the way is long, and most of it was empty."},
    {"register-between", Severity::Advice,
     "Register a larger region before the transfers begin: each registration is a command, and pins and maps pages."},
    {"vectors-uneven", Severity::Advice,
     "Spread completion queues over the vectors (comp_vector of ibv_create_cq): one processor serves all events."},
    {"small-mtu", Severity::Advice,
     "Give the interfaces at both ends, and what is between them, a larger MTU (9000): each frame has its cost."},
    {"window-limited", Severity::Advice,
     "Let several connections share a long way, or a slow receiver: each has its own window and its own buffers."},
}};

static_assert(std::ranges::all_of(kKinds, [](const KindFacts& facts) {
    return std::string_view(facts.id).size() < FoundFacts::kIdBytes &&
           std::string_view(facts.advice).size() < FoundFacts::kAdviceBytes;
}));

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20)
            out += c;
    }
    return out + "\"";
}

const char* severityText(Severity severity) {
    constexpr std::array<const char*, 3> names = {"error", "warning", "advice"};
    return names[static_cast<size_t>(severity)];
}

std::string toJson(const Finding& f) {
    const KindFacts& facts = factsOf(f.kind);
    std::string out = "{\"id\":" + quoted(facts.id) + ",\"severity\":" + quoted(severityText(facts.severity)) +
                      ",\"count\":" + std::to_string(f.count) + ",\"first_ns\":" + std::to_string(f.firstNs) +
                      ",\"last_ns\":" + std::to_string(f.lastNs);
    const auto number = [&out](const char* name, uint64_t value) {
        out += ",\"" + std::string(name) + "\":" + std::to_string(value);
    };
    if (f.place.qpn != 0) {
        number("qpn", f.place.qpn);
        out += std::string(",\"kernel\":") + (f.place.kernel ? "true" : "false");
    }
    if (f.place.cqn != 0)
        number("cqn", f.place.cqn);
    if (f.place.index) {
        out += std::string(",\"queue\":") + (f.place.receiveQueue ? "\"receive\"" : "\"send\"");
        number("index", *f.place.index);
    }
    if (f.place.length != 0) {
        number("stag", f.place.stag);
        number("address", f.place.address);
        number("length", f.place.length);
    }
    return out + ",\"sentence\":" + quoted(f.sentence) + ",\"advice\":" + quoted(facts.advice) + "}";
}

} // namespace

const KindFacts& factsOf(Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

void Findings::add(Kind kind, const Place& place, uint64_t nowNs, std::string sentence) {
    // Queue pairs and completion queues have numbers of their own.
    const uint64_t queue = place.qpn != 0 ? place.qpn : uint64_t{place.cqn} << 32;
    const auto at = found_.find({kind, queue});
    if (at != found_.end()) {
        ++at->second.count;
        at->second.lastNs = nowNs;
        at->second.gone = false;
        return;
    }
    if (found_.size() >= kMost) {
        ++dropped_;
        return;
    }
    Finding finding{kind, place, std::move(sentence), 1, nowNs, nowNs, false};
    inOrder_.push_back(&found_.emplace(std::pair{kind, queue}, std::move(finding)).first->second);
}

void Findings::queuePairGone(uint32_t qpn) {
    for (Finding* finding : inOrder_)
        finding->gone |= finding->place.qpn == qpn;
}

void Findings::completionQueueGone(uint32_t cqn) {
    for (Finding* finding : inOrder_)
        finding->gone |= finding->place.qpn == 0 && finding->place.cqn == cqn;
}

void Findings::allGone() {
    for (Finding* finding : inOrder_)
        finding->gone = true;
}

FoundFacts Findings::facts(size_t index) const {
    const Finding& f = *inOrder_[index];
    const KindFacts& kind = factsOf(f.kind);
    return {.id = kind.id,
            .advice = kind.advice,
            .severity = static_cast<uint8_t>(kind.severity),
            .count = f.count,
            .qpn = f.place.qpn,
            .cqn = f.place.cqn,
            .kernel = f.place.kernel,
            .gone = f.gone,
            .firstNs = f.firstNs,
            .lastNs = f.lastNs};
}

void Findings::clear() {
    inOrder_.clear();
    found_.clear();
    dropped_ = 0;
}

const Finding* Findings::find(Kind kind) const {
    const auto at = found_.lower_bound({kind, 0});
    return at == found_.end() || at->first.first != kind ? nullptr : &at->second;
}

uint64_t Findings::count(Severity severity) const {
    return static_cast<uint64_t>(
        std::ranges::count_if(found_, [&](const auto& f) { return factsOf(f.first.first).severity == severity; }));
}

std::string Findings::json() const {
    std::vector<const Finding*> sorted;
    for (const auto& [key, finding] : found_)
        sorted.push_back(&finding);
    std::ranges::stable_sort(sorted, [](const Finding* a, const Finding* b) {
        return std::pair{factsOf(a->kind).severity, a->firstNs} < std::pair{factsOf(b->kind).severity, b->firstNs};
    });
    std::string out = "[";
    for (const Finding* finding : sorted)
        out += (out.size() > 1 ? "," : "") + toJson(*finding);
    return out + "]";
}

std::string hex(uint64_t value) {
    std::array<char, 24> text;
    const int length = std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
    return {text.data(), static_cast<size_t>(length)};
}

std::string duration(uint64_t ns) {
    struct Unit {
        uint64_t ns;
        const char* name;
    };
    constexpr std::array<Unit, 3> units = {{{1'000'000'000, " s"}, {1'000'000, " ms"}, {1000, " us"}}};
    for (const Unit& unit : units) {
        if (ns >= unit.ns)
            return std::to_string(ns / unit.ns) + "." + std::to_string(ns % unit.ns * 10 / unit.ns) + unit.name;
    }
    return std::to_string(ns) + " ns";
}

std::string bytes(uint64_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

} // namespace erdma::check
