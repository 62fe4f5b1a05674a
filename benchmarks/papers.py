"""What four papers print of parameters and multiply-adds, beside what is counted here.

python benchmarks/papers.py

Builds every network and block of the tables and counts it by the paper's convention. The status is 1 where
ours is not the expected figure.
"""

import functools
import os
import sys
import textwrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import papers_bat
import papers_nl
import papers_rnl
import papers_unprinted
from papers_conventions import figures_of

from keras_nonlocal.described import without_memory

PRINTED = (
    papers_nl.NL,
    papers_rnl.KINETICS,
    papers_rnl.SOMETHING,
    papers_rnl.BLOCK,
    papers_bat.TABLE_1,
    papers_bat.TABLE_2,
    papers_bat.TABLE_4,
    papers_bat.TABLE_5,
    papers_bat.TABLE_6,
    papers_bat.TABLE_7,
    papers_bat.TABLE_8,
)
UNPRINTED = (
    papers_unprinted.EXPLANATIONS,
    papers_unprinted.NETWORKS,
    papers_unprinted.RNL_KERNELS,
    papers_unprinted.BLOCKS,
)
LEGEND = """\
What the papers print of networks and blocks that can be built here, beside ours: parameters in millions, all
else in G. Ours agrees if it rounds to the last digit that the paper prints, after a "~" to the tens.

MAC         multiply-adds of convolutions and fully connected layers
products    multiply-adds of attention, of the matrices in the paper's order
thop A B C  what PyTorch's tool thop sees of the authors' code, in two releases and for two kinds of head
+ 2 NL      and 2 for each multiply-add of the products of NL
released    as the released code has them, where RNL has a dense kernel and a mask
kernels     without biases and BN"""
WIDTH = 110
_fill = functools.partial(textwrap.fill, width=WIDTH, break_on_hyphens=False)


def main(printed=PRINTED, unprinted=UNPRINTED):
    """Prints the tables: first those of the papers, then those of figures that no paper prints.

    Returns:
        The status of the program: 1 where a figure differs from the expected one, 0 otherwise.
    """
    print(LEGEND)
    differing = sum(_print_table(table) for table in printed)
    print("\n\nWhat no paper prints.")
    differing += sum(_print_table(table) for table in unprinted)
    print("\n" + _fill(summary(printed, unprinted)))
    if differing:
        print(f"{differing} of ours DIFFER from what is expected.")
    return 1 if differing else 0


def summary(printed=PRINTED, unprinted=UNPRINTED):
    """Returns how many figures the papers print, how many of them agree, and how many no paper prints."""
    figures = figures_in(printed)
    agreeing = sum(map(agrees, figures))
    differing = len(figures) - agreeing
    unknown = sum(figure.reason.startswith("Not found") for figure in figures)
    return (
        f"The papers print {len(figures)} figures of what can be built here: {agreeing} agree, "
        f"{differing} do not. The reason was found for {differing - unknown} of these and not for {unknown}. "
        f"No paper prints the other {len(figures_in(unprinted))} figures."
    )


def figures_in(tables):
    """Returns the figures of tables, in their order."""
    return [figure for table in tables for row in table.rows for figure in row.figures]


def recount(row):
    """Returns the figures of a row as they are counted now, written as the expected ones are.

    Raises:
        ValueError: the model has a layer whose multiply-adds are unknown.
    """
    numbers, base = _counted(row.make), row.base and _counted(row.base)
    return [_written(numbers[by], ours, base and base[by]) for by, _, ours, _ in row.figures]


def agrees(figure):
    """Returns whether ours rounds to the last digit that the paper prints."""
    ours, printed = figure.ours.rstrip("x%"), figure.printed.strip("~x%")
    if "," in printed:
        return printed == ours
    number = float(ours.replace(",", "")) / (1e6 if "," in ours else 1)
    if figure.printed.startswith("~"):
        return round(number, -1) == float(printed)
    return f"{number:.{_decimals(printed)}f}" == printed


@functools.cache
def _counted(make):
    with without_memory():
        return figures_of(make())


def _written(number, like, base):
    """Returns a number written as `like` is, against the base's where that has a sign, an "x" or a "%"."""
    if like[-1] in "x%":
        ratio = number / base * (100 if like[-1] == "%" else 1)
        return f"{ratio:.{_decimals(like[:-1])}f}{like[-1]}"
    sign = "+" if like[0] in "+-" else ""
    if sign:
        number -= base
    return f"{number / 1e9:{sign}.{_decimals(like)}f}" if "." in like else f"{number:{sign},}"


def _decimals(text):
    return len(text.partition(".")[2])


def _print_table(table):
    """Prints a table with its notes, and returns how many of its figures differ from the expected ones."""
    reasons = list(dict.fromkeys(figure.reason for figure in figures_in([table]) if figure.reason))
    lines, differing = [("", "by", "paper", "ours", "")], 0
    for row in table.rows:
        names = [row.name]
        for figure, ours in zip(row.figures, recount(row), strict=True):
            mark = "agrees" if figure.printed else ""
            if figure.reason:
                mark = f"does not ({reasons.index(figure.reason) + 1})"
            if ours != figure.ours:
                mark, differing = f"DIFFERS from {figure.ours}", differing + 1
            lines.append((names.pop() if names else "", figure.by, figure.printed, ours, mark))
    print(f"\n\n{table.title}\n\n{_fill(table.note)}\n")
    _print_aligned(lines)
    if reasons:
        print()
    for number, reason in enumerate(reasons, start=1):
        print(_fill(f"({number}) {reason}", subsequent_indent="    "))
    return differing


def _print_aligned(lines):
    columns = [column for column in zip("<<>><", *lines, strict=True) if any(column[2:])]
    widths = [max(map(len, cells)) for _, *cells in columns]
    for (*cells,) in zip(*(cells for _, *cells in columns), strict=True):
        aligned = zip(cells, columns, widths, strict=True)
        print("  ".join(f"{cell:{column[0]}{width}}" for cell, column, width in aligned).rstrip())


if __name__ == "__main__":
    sys.exit(main())
