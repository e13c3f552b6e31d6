# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of ./lab bench as one page of HTML: bars with their spread, no script, no other file."""

import html
import statistics

from .benchresult import PEERS, TIMES, compare

WIDTH, BAR, LEFT, RIGHT = 720, 18, 90, 150
COLOURS = {"erdma": "#1f77b4", "siw": "#2ca02c", "rdma_rxe": "#ff7f0e", "tcp": "#7f7f7f"}
STYLE = """
body { font: 15px/1.4 sans-serif; max-width: 780px; margin: 1em auto; padding: 0 1em; color: #222; background: #fff }
figure { margin: 1.2em 0 } figcaption { font-weight: bold } svg { width: 100%; height: auto } svg text { font-size: 12px; fill: #333 }
.spread { stroke: #222; stroke-width: 1.5 } table { border-collapse: collapse; font-size: 13px } td, th { padding: 2px 10px;
text-align: right } td:first-child, th:first-child { text-align: left } .bad { color: #c00; font-weight: bold } .good { color: #080 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } svg text { fill: #ccc } .spread { stroke: #eee } }
"""


def number(value):
    return "-" if value is None else f"{value:.4g}"


def chart(results, measure):
    """A bar for each of those compared, as long as the median, with a line from the least to the most."""
    values, failed = results.values[measure], results.failures.get(measure, {})
    most = max((max(one) for one in values.values()), default=0) or 1
    unit, peers = results.units[measure], [peer for peer in PEERS if peer in values or peer in failed]

    def x(value):
        return LEFT + value / most * (WIDTH - LEFT - RIGHT)

    parts = []
    for row, peer in enumerate(peers):
        top, middle = row * (BAR + 8), row * (BAR + 8) + BAR / 2
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{html.escape(peer)}</text>')
        if peer in failed:
            parts.append(f'<text class="bad" x="{LEFT}" y="{middle + 4}">{html.escape(failed[peer].split(":", 1)[0])}</text>')
        if peer not in values:
            continue
        median, least, largest = statistics.median(values[peer]), min(values[peer]), max(values[peer])
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{x(median) - LEFT:.1f}" height="{BAR}" fill="{COLOURS[peer]}">'
                     f"<title>{len(values[peer])} values, {number(least)} to {number(largest)}</title></rect>")
        if least != largest:
            parts.append(f'<path class="spread" d="M{x(least):.1f} {middle}H{x(largest):.1f}'
                         f'M{x(least):.1f} {middle - 4}v8M{x(largest):.1f} {middle - 4}v8"/>')
        said = number(median) + (f" ({number(least)}–{number(largest)})" if least != largest else "")
        parts.append(f'<text x="{max(x(median), x(largest)) + 6:.1f}" y="{middle + 4}">{html.escape(said)}</text>')
    sense = "less is better" if unit in TIMES else "more is better"
    return (f"<figure><figcaption>{html.escape(measure)}, {html.escape(unit)}, {sense}</figcaption>"
            f'<svg viewBox="0 0 {WIDTH} {max(1, len(peers)) * (BAR + 8)}" role="img">{"".join(parts)}</svg></figure>\n')


def rows(header, lines, marked=()):
    """A table; words of `marked` stand out: word -> class."""
    marked = dict(marked)
    text = "<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>\n"
    for line in lines:
        text += "<tr>" + "".join(
            f'<td class="{marked[cell]}">{html.escape(cell)}</td>' if cell in marked else f"<td>{html.escape(cell)}</td>"
            for cell in map(str, line)) + "</tr>\n"
    return text + "</table>\n"


def page(results, old=None):
    """The text of the page; with older results a table of verdicts too."""
    about = results.about
    facts = {**about.get("machine", {}), "guest's kernel": about.get("kernel", "-"), "rounds": about.get("rounds", "-"),
             "processors of each guest": about.get("cpus", "-")}
    text = ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<title>ERDMA benchmark</title>\n'
            f"<style>{STYLE}</style></head><body>\n<h1>ERDMA benchmark</h1>\n"
            "<p>The adapter, SoftiWARP, rdma_rxe and TCP in the same two guests, one after the other. Bars are medians; the line "
            "goes from the least to the most that was measured.</p>\n")
    if results.stopped:
        text += f'<p class="bad">The benchmark did not come to its end: {html.escape(results.stopped)}</p>\n'
    text += rows(("machine", ""), facts.items())
    text += "<h2>Targets</h2>\n" + rows(
        ("measure", "compared with", "ratio", "should be", ""),
        [(measure, peer, f"{value:.2f}", wish, "met" if met else "MISSED")
         for measure, peer, value, wish, met in results.targets()], {"met": "good", "MISSED": "bad"})
    if old:
        factor, lines = compare(old, results)
        text += (f"<h2>Against older results</h2>\n<p>By the rows of the others this machine was {factor:.2f} times "
                 "as fast as then; the adapter's are compared after that.</p>\n")
        text += rows(("measure", "unit", "then", "now", "times as fast", "verdict"),
                     [(measure, unit, number(then), number(now), "-" if times is None else f"{times:.2f}", verdict)
                      for measure, unit, then, now, times, verdict in lines],
                     {"faster": "good", "SLOWER": "bad", "FAILED": "bad"})
    text += "<h2>Measures</h2>\n" + "".join(chart(results, measure) for measure in results.values)
    failures = [(measure, peer, reason) for measure, peers in results.failures.items() for peer, reason in peers.items()]
    if failures:
        text += "<h2>What failed</h2>\n" + rows(("measure", "with", "why"), failures)
    return text + "</body></html>\n"
