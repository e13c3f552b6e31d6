// SPDX-License-Identifier: GPL-2.0-or-later
// eadm plot: a recording as a page of HTML with charts in SVG.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "record.h"

namespace eadm {

namespace {

constexpr double kWidth = 720, kHeight = 200;                      // of a chart
constexpr double kLeft = 64, kRight = 12, kAbove = 8, kBelow = 24; // around what is drawn
constexpr size_t kMostPoints = 600;                                // of a line
constexpr size_t kMostLines = 8;                                   // connections in a chart
constexpr std::array<const char*, kMostLines> kColours = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e",
                                                          "#9467bd", "#8c564b", "#17becf", "#7f7f7f"};

struct Point {
    double at, least, mean, most;
    size_t look = 0, looks = 1; // the first that it stands for, and how many
};

struct Series {
    std::string name;
    std::vector<Point> points;
};

// A chart of fields of an adapter.
struct Chart {
    const char* title;
    const char* unit;
    double factor;
    std::vector<std::pair<const char*, const char*>> fields; // of a row, and what the line is called
};

const std::vector<Chart>& charts() {
    static const std::vector<Chart> all = {
        {"Throughput", "bit/s", 8, {{"tx_bytes", "sent"}, {"rx_bytes", "received"}}},
        {"Packets", "1/s", 1, {{"tx_packets", "sent"}, {"rx_packets", "received"}}},
        {"Work requests and events", "1/s", 1, {{"tx_requests", "requests"}, {"completion_events", "events"}}},
        {"Trouble", "1/s", 1, {{"retransmits_rate", "retransmission time-outs"}, {"drops", "drops"}}},
        {"Under way",
         "",
         1,
         {{"outstanding", "send blocks outstanding"},
          {"reads", "reads outstanding"},
          {"receives", "receives waiting"}}},
        {"Queue pairs", "", 1, {{"qps", "queue pairs"}}}};
    return all;
}

std::string escapedHtml(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else
            out += c;
    }
    return out;
}

std::string number(double value) { return value < 100 ? fmt::format("{:.3g}", value) : scaled(value); }

// So many points that a screen can tell them apart; those that fall together keep their smallest and largest value.
void add(Series& series, size_t index, size_t all, double at, double value) {
    const size_t together = (all + kMostPoints - 1) / kMostPoints;
    if (!series.points.empty() && series.points.back().look / together == index / together) {
        Point& last = series.points.back();
        last.least = std::min(last.least, value);
        last.most = std::max(last.most, value);
        last.mean += (value - last.mean) / static_cast<double>(++last.looks);
        return;
    }
    series.points.push_back({at, value, value, value, index});
}

// 1, 2 or 5 times a power of ten, so that about five of them are the whole.
double stepOf(double whole) {
    const double rough = std::max(whole, 1e-9) / 5;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0})
        if (rough <= factor * power)
            return factor * power;
    return 10 * power;
}

class Drawing {
public:
    Drawing(double from, double to, double most) : from_(from), to_(std::max(to, from + 1e-3)) {
        step_ = stepOf(most);
        most_ = std::max(step_ * std::ceil(most / step_), step_);
    }

    std::string axes(const std::string& unit) const {
        std::string text;
        for (double value = 0; value <= most_ * 1.001; value += step_)
            text += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
                                "<text class=\"y\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                                kLeft, kWidth - kRight, y(value), y(value), kLeft - 6, y(value) + 4, number(value));
        const double step = stepOf(to_ - from_);
        for (double at = std::ceil(from_ / step) * step; at <= to_ + step / 1000; at += step)
            text += fmt::format("<text class=\"x\" x=\"{:.1f}\" y=\"{:.1f}\">{:g} s</text>\n", x(at), kHeight - 6, at);
        if (!unit.empty())
            text += fmt::format("<text class=\"unit\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", kLeft + 4, kAbove + 10,
                                escapedHtml(unit));
        return text;
    }

    std::string line(const Series& series, const char* colour) const {
        std::string mean, upper, lower;
        for (const Point& point : series.points) {
            mean += fmt::format("{:.1f},{:.1f} ", x(point.at), y(point.mean));
            upper += fmt::format("{:.1f},{:.1f} ", x(point.at), y(point.most));
        }
        for (auto point = series.points.rbegin(); point != series.points.rend(); ++point)
            lower += fmt::format("{:.1f},{:.1f} ", x(point->at), y(point->least));
        std::string text;
        if (std::ranges::any_of(series.points, [](const Point& one) { return one.least != one.most; }))
            text = fmt::format("<polygon fill=\"{}\" points=\"{}{}\"/>\n", colour, upper, lower);
        return text + fmt::format("<polyline stroke=\"{}\" points=\"{}\"><title>{}</title></polyline>\n", colour, mean,
                                  escapedHtml(series.name));
    }

private:
    double x(double at) const { return kLeft + (at - from_) / (to_ - from_) * (kWidth - kLeft - kRight); }
    double y(double value) const { return kHeight - kBelow - value / most_ * (kHeight - kAbove - kBelow); }
    double from_, to_, most_ = 1, step_ = 1;
};

std::string summary(const Series& series, const char* colour) {
    double least = series.points.front().least, most = least, sum = 0, looks = 0;
    for (const Point& point : series.points) {
        least = std::min(least, point.least);
        most = std::max(most, point.most);
        sum += point.mean * static_cast<double>(point.looks);
        looks += static_cast<double>(point.looks);
    }
    return fmt::format("<tr><td><span style=\"background:{}\"></span>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                       colour, escapedHtml(series.name), number(least), number(sum / looks), number(most));
}

std::string figure(const std::string& title, const std::string& unit, std::vector<Series> all, double to) {
    std::erase_if(all, [](const Series& one) { return one.points.empty(); });
    if (all.empty())
        return fmt::format(
            "<figure><figcaption>{}</figcaption><p>Nobody who may see this was recording.</p></figure>\n",
            escapedHtml(title));
    double most = 0;
    for (const Series& series : all)
        for (const Point& point : series.points)
            most = std::max(most, point.most);
    const Drawing drawing(0, to, most);
    std::string text = fmt::format("<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {} {}\" role=\"img\">\n{}",
                                   escapedHtml(title), kWidth, kHeight, drawing.axes(unit));
    for (size_t i = 0; i < all.size(); ++i)
        text += drawing.line(all[i], kColours.at(i % kMostLines));
    text += "</svg>\n<table><tr><th></th><th>least</th><th>mean</th><th>most</th></tr>\n";
    for (size_t i = 0; i < all.size(); ++i)
        text += summary(all[i], kColours.at(i % kMostLines));
    return text + "</table></figure>\n";
}

std::string adapterFigures(const Record& record, const std::string& device, double to) {
    std::string text;
    for (const Chart& chart : charts()) {
        std::vector<Series> all;
        for (const auto& [field, name] : chart.fields) {
            Series series{name, {}};
            for (size_t i = 0; i < record.lines.size(); ++i)
                for (const Json& row : record.lines[i]["adapters"])
                    if (row["device"] == device && row[field].is_number())
                        add(series, i, record.lines.size(), record.lines[i]["at"],
                            row[field].get<double>() * chart.factor);
            all.push_back(std::move(series));
        }
        text += figure(chart.title, chart.unit, std::move(all), to);
    }
    return text;
}

std::string nameOfConnection(const Json& row) {
    return fmt::format("QP {} of {} ({}){}", row["qp"].get<uint64_t>(), plain(row["owner"]["name"]),
                       row["owner"]["pid"].get<uint64_t>(),
                       row.at("remote").is_string() ? " to " + plain(row["remote"]) : "");
}

// The connections that posted most, over all.
std::string connectionFigure(const Record& record, const std::string& device, double to) {
    std::map<std::string, double> sums;
    for (const Json& line : record.lines)
        for (const Json& row : line["connections"])
            if (row["device"] == device && row["posted_blocks"].is_number())
                sums[nameOfConnection(row)] += row["posted_blocks"].get<double>();
    std::vector<std::pair<double, std::string>> order;
    for (const auto& [name, sum] : sums)
        order.emplace_back(-sum, name);
    std::ranges::sort(order);
    order.resize(std::min(order.size(), kMostLines));
    std::vector<Series> all;
    for (const auto& [sum, name] : order) {
        Series series{name, {}};
        for (size_t i = 0; i < record.lines.size(); ++i)
            for (const Json& row : record.lines[i]["connections"])
                if (row["device"] == device && row["posted_blocks"].is_number() && nameOfConnection(row) == name)
                    add(series, i, record.lines.size(), record.lines[i]["at"], row["posted_blocks"]);
        all.push_back(std::move(series));
    }
    return all.empty() ? "" : figure("Busiest connections", "send blocks/s", std::move(all), to);
}

constexpr const char* kStyle = R"(
body { font: 15px/1.4 sans-serif; max-width: 760px; margin: 1em auto; padding: 0 1em; color: #222; background: #fff }
figure { margin: 1.5em 0 } figcaption { font-weight: bold } svg { width: 100%; height: auto }
svg text { font-size: 11px; fill: #555 } svg .y { text-anchor: end } svg .x { text-anchor: middle }
.grid { stroke: #ddd } polyline { fill: none; stroke-width: 1.5 } polygon { opacity: .25 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 1px 10px; text-align: right }
td:first-child { text-align: left } td span { display: inline-block; width: 10px; height: 10px; margin-right: 6px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } svg text { fill: #aaa } .grid { stroke: #333 } }
)";

} // namespace

std::string pageOf(const Record& record, const std::string& title) {
    std::vector<std::string> devices;
    uint64_t hidden = 0;
    for (const Json& line : record.lines) {
        for (const Json& row : line["adapters"])
            if (const auto name = row["device"].get<std::string>(); std::ranges::find(devices, name) == devices.end())
                devices.push_back(name);
        if (line.contains("hidden") && line["hidden"].is_number_unsigned())
            hidden = std::max(hidden, line["hidden"].get<uint64_t>());
    }
    const double to = record.lines.back()["at"];
    std::string text =
        fmt::format("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>{0}</title>\n"
                    "<style>{1}</style></head><body>\n<h1>{0}</h1>\n<p>{2} looks in {3:.1f} s, from {4}.{5}{6}</p>\n",
                    escapedHtml(title), kStyle, record.lines.size(), to, escapedHtml(plain(at(record.head, "time"))),
                    hidden != 0 ? fmt::format(" Up to {} queue pairs of other users are not in it.", hidden) : "",
                    record.cut ? " The recording ended in the middle of a line." : "");
    for (const std::string& device : devices)
        text += fmt::format("<h2>{}</h2>\n{}{}", escapedHtml(device), adapterFigures(record, device, to),
                            connectionFigure(record, device, to));
    return text + "</body></html>\n";
}

} // namespace eadm
