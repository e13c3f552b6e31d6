# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain text tables."""


def render(header, rows):
    """Columns aligned: text to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    right = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
             for i in range(len(header))]

    def line(row):
        return "  ".join(cell.rjust(width) if flag else cell.ljust(width)
                         for cell, width, flag in zip(row, widths, right)).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, cells)])
