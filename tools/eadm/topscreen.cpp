// SPDX-License-Identifier: GPL-2.0-or-later
// eadm top on a terminal.  The only file that includes ncurses.
#define NCURSES_NOMACROS 1
#include <ncurses.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include <fmt/format.h>

#include "top.h"

namespace eadm {

namespace {

constexpr const char* kHelp = "q leave  c connections  p processes  a adapters  < > order by  r reverse  "
                              "space pause  arrows scroll";

Key keyOf(int code) {
    switch (code) {
    case 'c':
        return Key::Connections;
    case 'p':
        return Key::Processes;
    case 'a':
        return Key::Adapters;
    case '>':
    case KEY_RIGHT:
        return Key::NextColumn;
    case '<':
    case KEY_LEFT:
        return Key::PreviousColumn;
    case 'r':
        return Key::Reverse;
    case ' ':
        return Key::Pause;
    case KEY_UP:
        return Key::Up;
    case KEY_DOWN:
        return Key::Down;
    case KEY_HOME:
        return Key::Top;
    default:
        return Key::Other;
    }
}

void line(int row, const std::string& text, attr_t attributes = A_NORMAL) {
    if (row < 0 || row >= getmaxy(stdscr))
        return;
    attron(static_cast<int>(attributes));
    mvaddnstr(row, 0, text.c_str(), getmaxx(stdscr));
    attroff(static_cast<int>(attributes));
}

} // namespace

Screen::Screen() : screen_(newterm(nullptr, stdout, stdin)) {
    if (!screen_)
        throw Error(Exit::Usage, "this terminal cannot show a screen; set TERM, or write to a pipe: eadm top | cat");
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
}

Screen::~Screen() {
    endwin();
    delscreen(static_cast<SCREEN*>(screen_));
}

bool Screen::key(TopView& view, double seconds) {
    wtimeout(stdscr, std::max(1, static_cast<int>(seconds * 1000)));
    const int code = wgetch(stdscr);
    if (code == 'q' || code == 'Q')
        return false;
    press(view, keyOf(code));
    return true;
}

void Screen::draw(TopView& view, const TopRows& rows) {
    constexpr int head = 2; // lines above the rows, and one below
    const int room = std::max(1, getmaxy(stdscr) - head - 1);
    std::vector<std::string> lines;
    std::istringstream text(table(columnsOf(view.group), rows.rows));
    for (std::string one; std::getline(text, one);)
        lines.push_back(one);
    const size_t all = lines.empty() ? 0 : lines.size() - 1;
    view.first = std::min(view.first, all == 0 ? 0 : all - 1);
    werase(stdscr);
    line(0, fmt::format("eadm top  {}  {}{}", timeText(), aboutRows(rows, view), view.paused ? "  PAUSED" : ""),
         A_BOLD);
    line(1, lines.empty() ? "" : lines.front(), A_REVERSE);
    for (int i = 0; i < room && view.first + static_cast<size_t>(i) < all; ++i)
        line(head + i, lines[view.first + static_cast<size_t>(i) + 1]);
    line(getmaxy(stdscr) - 1, kHelp, A_REVERSE);
    wrefresh(stdscr);
}

} // namespace eadm
