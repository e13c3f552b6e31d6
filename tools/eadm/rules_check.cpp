// SPDX-License-Identifier: GPL-2.0-or-later
// What an adapter in check mode found about the programs that use it.
#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>

#include "examination.h"

namespace eadm {

namespace {

constexpr uint64_t kMostQueues = 10; // queues with the same finding

struct Meaning {
    Severity severity;
    const char* id;
};
// By enum erdma_finding_severity.
constexpr std::array<Meaning, 3> kMeanings = {
    {{Severity::Fault, "check-error"}, {Severity::Warning, "check-warning"}, {Severity::Note, "check-advice"}}};

double secondsOf(uint64_t ns) { return static_cast<double>(ns) / 1e9; }

// " in queue pair 3 of rping (pid 7)"
std::string placeText(const erdma_info_finding& found) {
    if (found.qp == 0 && found.cq == 0)
        return "";
    std::string text =
        found.qp != 0 ? fmt::format(" in queue pair {}", found.qp) : fmt::format(" in completion queue {}", found.cq);
    const std::string name = textOf(found.owner.name);
    if (name.empty())
        return text + (found.flags & ERDMA_FINDING_KERNEL ? " of the kernel, which is gone" : ", which is gone");
    return text + (found.owner.kernel != 0 ? fmt::format(" of the kernel module {}", name)
                                           : fmt::format(" of {} (pid {})", name, found.owner.pid));
}

Json figuresOf(const erdma_info_finding& found) {
    Json figures = {{"finding", textOf(found.id)}, {"count", found.count}};
    if (found.qp != 0)
        figures["qp"] = found.qp;
    else if (found.cq != 0)
        figures["cq"] = found.cq;
    if (const std::string name = textOf(found.owner.name); !name.empty()) {
        figures["process"] = name;
        figures["pid"] = found.owner.pid;
    }
    figures["first_seconds_ago"] = secondsOf(found.first_ns);
    figures["last_seconds_ago"] = secondsOf(found.last_ns);
    return figures;
}

} // namespace

void Examination::checkMode() {
    // Number 0 is check mode itself.
    const auto state = std::ranges::find(adapter_->found, 0u, &erdma_info_finding::number);
    if (state == adapter_->found.end() || (state->flags & ERDMA_FINDING_ON) == 0)
        return;
    add(Severity::Note, "check-mode",
        fmt::format("The adapter is in check mode, which looks for mistakes of programs and holds their work back: it "
                    "found {}. What is measured now says nothing about speed.",
                    state->total),
        "Switch it off to measure: property check=off of the device, './lab run' without --check.",
        {{"found", state->total}});
    std::map<std::string, uint64_t> alike;
    for (const erdma_info_finding& found : adapter_->found) {
        const std::string id = textOf(found.id), advice = textOf(found.advice);
        // The driver leaves out what cannot be; a file may hold anything.
        if (found.number == 0 || found.severity >= kMeanings.size() || found.count == 0 || id.empty())
            continue;
        const Meaning& meaning = kMeanings.at(found.severity);
        if (++alike[id] <= kMostQueues)
            add(meaning.severity, meaning.id,
                fmt::format("Check mode found {}{}, {} {:.1f} seconds ago.", id, placeText(found),
                            found.count == 1 ? "once," : fmt::format("{} times, last", found.count),
                            secondsOf(found.last_ns)),
                advice.ends_with('.') ? advice : advice + (advice.empty() ? "docs/check.md explains it." : "."),
                figuresOf(found));
        else if (alike[id] == kMostQueues + 1)
            add(meaning.severity, meaning.id, fmt::format("Check mode found {} in more queues.", id),
                "The report of the lab and the property findings of the device list them all.",
                {{"finding", id}, {"more", true}});
    }
}

} // namespace eadm
