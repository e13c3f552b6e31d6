// SPDX-License-Identifier: GPL-2.0-or-later
// eadm doctor as the user sees it: text, JSON, or one line for monitoring.
#include <algorithm>

#include <fmt/format.h>

#include "commands.h"
#include "doctor.h"

namespace eadm {

namespace {

Exit exitOf(Severity severity) {
    return severity == Severity::Note ? Exit::Ok : severity == Severity::Unknown ? Exit::Partial : Exit::Findings;
}

void showText(const Options& options, const std::vector<Finding>& findings) {
    const Colours colours(options.colour);
    for (const Finding& finding : findings) {
        const auto colour = finding.severity == Severity::Fault     ? colours.red
                            : finding.severity == Severity::Warning ? colours.yellow
                                                                    : colours.bold;
        std::string figures;
        for (const auto& [name, value] : finding.figures.items())
            figures += fmt::format("{}{}={}", figures.empty() ? "" : " ", name,
                                   value.is_primitive() ? plain(value) : value.dump());
        print(fmt::format("{}{}{}{}: {}\n    {}\n{}", colour, severityName(finding.severity), colours.reset,
                          finding.device.empty() ? "" : " " + finding.device, finding.text, finding.advice,
                          figures.empty() ? "" : fmt::format("    [{}: {}]\n", finding.id, figures)));
    }
    const Severity severity = worst(findings);
    if (severity == Severity::Note)
        print(fmt::format("{}healthy{}\n", colours.green, colours.reset));
    else if (severity == Severity::Unknown)
        print("nothing wrong in what could be examined\n");
}

// The monitoring plugins' exit codes.
int plugin(std::string_view word, int code, std::string text, const std::string& figures) {
    std::ranges::replace(text, '|', '/'); // what follows it are figures
    std::ranges::replace(text, '\n', ' ');
    print(fmt::format("ERDMA {} - {}{}{}\n", word, text, figures.empty() ? "" : " | ", figures));
    return code;
}

} // namespace

Json toJson(const Finding& finding) {
    Json json;
    json["severity"] = std::string(severityName(finding.severity));
    json["id"] = finding.id;
    json["device"] = finding.device.empty() ? Json() : Json(finding.device);
    json["text"] = finding.text;
    json["advice"] = finding.advice;
    json["figures"] = finding.figures;
    return json;
}

Exit examine(const Options& options, const DoctorOptions& doctor) {
    const Thresholds thresholds = readThresholds(doctor.config);
    const double seconds = doctor.seconds.value_or(thresholds.seconds);
    const auto findings = diagnose(lookAt(options, seconds), thresholds);
    const Severity severity = worst(findings);
    if (!options.json) {
        showText(options, findings);
        return exitOf(severity);
    }
    Json list = Json::array();
    for (const Finding& finding : findings)
        list.push_back(toJson(finding));
    const bool complete =
        std::ranges::none_of(findings, [](const Finding& one) { return one.severity == Severity::Unknown; });
    printJson(
        options,
        {{"healthy", severity == Severity::Note}, {"complete", complete}, {"seconds", seconds}, {"findings", list}});
    return exitOf(severity);
}

int check(const Options& options, const DoctorOptions& doctor) {
    try {
        const Thresholds thresholds = readThresholds(doctor.config);
        const Snapshot snapshot = lookAt(options, doctor.seconds.value_or(thresholds.seconds));
        const auto findings = diagnose(snapshot, thresholds);
        const auto count = [&](Severity severity) {
            return std::ranges::count_if(findings, [&](const Finding& one) { return one.severity == severity; });
        };
        size_t qps = 0;
        for (const Adapter& adapter : snapshot.adapters)
            qps += adapter.qps.size();
        const std::string figures =
            fmt::format("faults={} warnings={} unknown={} adapters={} connected_qps={}", count(Severity::Fault),
                        count(Severity::Warning), count(Severity::Unknown), snapshot.adapters.size(), qps);
        std::string text;
        for (const Finding& finding : findings)
            if (finding.severity != Severity::Note)
                text += fmt::format("{}{}{}: {}", text.empty() ? "" : "; ",
                                    finding.device.empty() ? "" : finding.device + " ", finding.id, finding.text);
        switch (worst(findings)) {
        case Severity::Fault:
            return plugin("CRITICAL", 2, text, figures);
        case Severity::Warning:
            return plugin("WARNING", 1, text, figures);
        case Severity::Unknown:
            return plugin("UNKNOWN", 3, text, figures);
        default:
            return plugin("OK", 0, fmt::format("{} adapters, nothing wrong", snapshot.adapters.size()), figures);
        }
    } catch (const std::exception& error) {
        return plugin("UNKNOWN", 3, error.what(), "");
    }
}

} // namespace eadm
