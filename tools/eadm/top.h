// SPDX-License-Identifier: GPL-2.0-or-later
// eadm top: what is shown of the activity, and how keys change it.
#pragma once

#include <string>
#include <vector>

#include "activity.h"
#include "commands.h"

namespace eadm {

// What the user looks at.
struct TopView {
    Group group = Group::Connection;
    ListOptions list; // its order is never empty
    size_t first = 0; // row at the top of the screen
    bool paused = false;
};

// The view that the options ask for.  Throws Error for words that there are not.
TopView viewOf(const TopOptions& top);
// Another group; what does not go with it (order, filters of a connection's ends) is left out.
void regroup(TopView& view, Group group);

enum class Key { Connections, Processes, Adapters, NextColumn, PreviousColumn, Reverse, Pause, Up, Down, Top, Other };
void press(TopView& view, Key key);

struct TopRows {
    Json rows;
    uint64_t beyond = 0; // that the limit left out
    uint64_t hidden = 0; // queue pairs of other users
};
TopRows rowsOf(const Activity& before, const Activity& now, const TopView& view);
// "by connection, -posted_blocks first, 3 beyond the limit, 12 queue pairs of other users not shown"
std::string aboutRows(const TopRows& rows, const TopView& view);

// The terminal, taken over by ncurses for as long as it lives.
class Screen {
public:
    Screen(); // throws Error when the terminal cannot do it
    ~Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;
    // Waits at most so long for a key; false: the user wants to leave.
    bool key(TopView& view, double seconds);
    // Brings the view back to where there are rows.
    void draw(TopView& view, const TopRows& rows);

private:
    void* screen_ = nullptr; // ncurses' own, whose header stays out of this one
};

} // namespace eadm
