// SPDX-License-Identifier: GPL-2.0-or-later
#include "top.h"

#include <algorithm>
#include <memory>

#include <unistd.h>

#include <fmt/format.h>

#include "filter.h"
#include "recording.h"

namespace eadm {

namespace {

void showRound(const Options& options, const TopView& view, const TopRows& rows, double seconds,
               const std::string& time) {
    if (options.json) {
        Json json;
        json["time"] = time;
        json["by"] = std::string(nameOf(view.group));
        json["seconds"] = seconds;
        json["rows"] = rows.rows;
        json["hidden"] = rows.hidden;
        json["beyond_limit"] = rows.beyond;
        printJson(options, json);
    } else {
        print(fmt::format("{}  {}\n{}", time, aboutRows(rows, view), table(columnsOf(view.group), rows.rows)));
    }
}

double secondsBetween(const Activity& before, const Activity& now) {
    return before.empty() || now.empty() ? 0 : now.front().sample.at - before.front().sample.at;
}

// Between the two looks of a snapshot.
Exit recordedTop(const Options& options, const TopView& view) {
    const auto recording = std::make_shared<Recording>(options.from);
    const Driver first(recording, 0), second(recording, 1);
    // Rings are not in the file.
    Activity before = lookAtActivity(first, options.device, {}, false);
    for (DeviceLook& look : before)
        look.sample.at = recording->at(0);
    Activity later = lookAtActivity(second, options.device, before, false);
    for (DeviceLook& look : later)
        look.sample.at = recording->at(1);
    showRound(options, view, rowsOf(before, later, view), secondsBetween(before, later),
              recording->json().value("time", ""));
    return Exit::Ok;
}

// The user's keys until the next look is due; false: leave.
bool obey(Screen& screen, TopView& view, const Activity& before, const Activity& later, double until) {
    screen.draw(view, rowsOf(before, later, view));
    while (!stopped() && (view.paused || steadySeconds() < until)) {
        const double rest = std::max(0.0, until - steadySeconds());
        if (!screen.key(view, view.paused ? 0.2 : std::min(rest, 0.2)))
            return false;
        screen.draw(view, rowsOf(before, later, view));
    }
    return !stopped();
}

} // namespace

TopView viewOf(const TopOptions& top) {
    TopView view;
    view.group = groupNamed(top.by);
    view.list = top.list;
    if (view.list.sort.empty())
        view.list.sort = usualOrder(view.group);
    // What does not go with the group is an error before anything is shown.
    const Json shape = emptyRow(view.group);
    Json one = Json::array({shape});
    choose(one, shape, view.list);
    return view;
}

void regroup(TopView& view, Group group) {
    view.group = group;
    view.list.sort = usualOrder(group);
    view.first = 0;
    if (group != Group::Connection)
        view.list.local = view.list.peer = view.list.state = "";
    if (group == Group::Adapter) {
        view.list.pid.reset();
        view.list.comm = "";
    }
}

void press(TopView& view, Key key) {
    const auto& columns = columnsOf(view.group);
    const bool down = view.list.sort.starts_with('-');
    const std::string field = view.list.sort.substr(down ? 1 : 0);
    const auto at = std::ranges::find(columns, field, &Column::path);
    const auto position = static_cast<size_t>(at == columns.end() ? 0 : at - columns.begin());
    const auto sortBy = [&](size_t column) {
        view.list.sort = (down ? "-" : "") + columns[column % columns.size()].path;
    };
    switch (key) {
    case Key::Connections:
        return regroup(view, Group::Connection);
    case Key::Processes:
        return regroup(view, Group::Process);
    case Key::Adapters:
        return regroup(view, Group::Adapter);
    case Key::NextColumn:
        return sortBy(position + 1);
    case Key::PreviousColumn:
        return sortBy(position + columns.size() - 1);
    case Key::Reverse:
        view.list.sort = (down ? "" : "-") + field;
        return;
    case Key::Pause:
        view.paused = !view.paused;
        return;
    case Key::Up:
        view.first -= view.first != 0 ? 1 : 0;
        return;
    case Key::Down:
        ++view.first; // as far as there are rows, which the screen knows
        return;
    case Key::Top:
        view.first = 0;
        return;
    case Key::Other:
        return;
    }
}

TopRows rowsOf(const Activity& before, const Activity& now, const TopView& view) {
    TopRows rows;
    rows.rows = activityRows(before, now, view.group);
    rows.beyond = choose(rows.rows, emptyRow(view.group), view.list);
    for (const DeviceLook& look : now)
        rows.hidden += look.sample.hidden;
    return rows;
}

std::string aboutRows(const TopRows& rows, const TopView& view) {
    std::string text = fmt::format("by {}, sorted by {}", nameOf(view.group), view.list.sort);
    if (rows.beyond != 0)
        text += fmt::format(", {} more beyond the limit", rows.beyond);
    if (rows.hidden != 0)
        text += fmt::format(", {} queue pairs of other users not shown", rows.hidden);
    return text;
}

Exit showTop(const Options& options, const TopOptions& top) {
    TopView view = viewOf(top);
    Options lines = options;
    lines.line = true;
    if (!options.from.empty())
        return recordedTop(lines, view);
    const Driver driver;
    const bool mayDump = (driver.version().rights & ERDMA_RIGHT_CHANGE) != 0;
    stopOnSignals();
    std::unique_ptr<Screen> screen;
    if (options.terminal && !options.json && isatty(STDIN_FILENO) != 0)
        screen = std::make_unique<Screen>();
    Activity before = lookAtActivity(driver, options.device, {}, mayDump);
    double due = steadySeconds() + (screen ? std::min(top.seconds, 1.0) : top.seconds);
    for (uint64_t round = 0; top.rounds == 0 || round < top.rounds; ++round) {
        while (!stopped() && steadySeconds() < due)
            sleepFor(std::min(due - steadySeconds(), 0.2));
        if (stopped())
            break;
        Activity later = lookAtActivity(driver, options.device, before, mayDump);
        due = steadySeconds() + top.seconds;
        if (!screen)
            showRound(lines, view, rowsOf(before, later, view), secondsBetween(before, later), timeText());
        else if (!obey(*screen, view, before, later, due))
            break;
        before = std::move(later);
    }
    return Exit::Ok;
}

} // namespace eadm
