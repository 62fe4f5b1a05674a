"""Four papers' tables of parameters and multiply-adds, beside what is counted here.

python benchmarks/papers.py

Builds every network of the tables and counts it by the paper's convention. The status is 1 where a figure is
not the expected one.
"""

import os
import sys
import textwrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from papers_blocks import BLOCKS, RNL_KERNELS
from papers_conventions import figures_of
from papers_networks import BAT_IMAGES, BAT_VIDEOS, NL, NL_101, RNL

TABLES = (RNL, RNL_KERNELS, NL, NL_101, BAT_IMAGES, BAT_VIDEOS, BLOCKS)
MATCHES, KNOWN, DIFFERS = "matches", "known non-reproduction", "DIFFERS"
_COLUMNS = ("", "by", "paper", "expected", "ours", "executed G", "")


def main(tables=TABLES):
    """Prints the tables: each figure as the paper has it, as expected and as counted here.

    Returns:
        The status of the program: 1 where a figure differs from the expected one, 0 otherwise.
    """
    differing = figures = known = 0
    for table in tables:
        lines, base = [_COLUMNS], None
        for row in table.rows:
            compared, counted = compare(row, base)
            base = base or counted
            names, executed = [row.name], [f"{counted['executed'] / 1e9:.4f}"]
            for figure, (ours, mark) in zip(row.figures, compared, strict=True):
                name, total = names.pop() if names else "", executed.pop() if executed else ""
                lines.append((name, figure.convention, figure.paper, figure.expected, ours, total, mark))
                figures, known = figures + 1, known + mark.startswith(KNOWN)
                differing += mark == DIFFERS
        print(f"\n{table.title}\n\n{textwrap.fill(table.note, 110)}\n")
        _print_aligned(lines)
    print(f"\n{figures} figures: {differing} differ from the expected ones, {known} are {KNOWN}s")
    return 1 if differing else 0


def compare(row, base=None):
    """Builds the model of a row and counts it.

    Args:
        row: A `papers_rows.Row`.
        base: `figures_of` the table's first row, which ratios refer to; None for that row itself.

    Returns:
        [(ours, mark), ...], one for each figure of the row, and `figures_of` the model.

    Raises:
        ValueError: the model has a layer whose multiply-adds are unknown.
    """
    counted = figures_of(row.make())
    compared = []
    for figure in row.figures:
        ours = _as_printed(counted[figure.convention], figure.expected, base and base[figure.convention])
        if ours != figure.expected:
            compared.append((ours, DIFFERS))
        else:
            compared.append((ours, MATCHES if agrees_with_paper(figure) else f"{KNOWN}: {figure.note}"))
    return compared, counted


def agrees_with_paper(figure):
    """Returns whether the expected figure rounds to what the paper prints; True where it prints none."""
    if not figure.paper:
        return True
    exact = float(figure.expected.rstrip("x").replace(",", ""))
    millions = exact / 1e6 if "," in figure.expected else exact
    return _rounded(millions, figure.paper) == figure.paper


def _as_printed(number, like, base):
    """Returns a number written as `like` is: a ratio to `base`, G with as many decimals, or an integer."""
    if like.endswith("x"):
        return _rounded(number / base, like.rstrip("x")) + "x"
    return _rounded(number / 1e9, like) if "." in like else f"{number:,}"


def _rounded(number, like):
    return f"{number:.{len(like.partition('.')[2])}f}"


def _print_aligned(lines):
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, "<<>>>><", widths, strict=True)
        print("  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
