"""Prints what a run's network costs, layer by layer, or the papers' tables of such costs beside ours.

python -m train.profile --flagfile=train/flagfiles/demo.flags [--num_classes=400] [--side=256]
python -m train.profile --papers
"""

import dataclasses
import sys
import textwrap

from absl import app, flags

from keras_nonlocal.counting import count, format_count
from train import config
from train.network import build_network
from train.paper_tables import CONVENTIONS, TABLES

MATCHES, KNOWN, DIFFERS = "matches", "known non-reproduction", "DIFFERS"
_COLUMNS = ("", "by", "paper", "expected", "ours", "executed G", "")


def print_count(model, input_shape=None):
    """Prints the count of a model for one clip, `keras_nonlocal.counting.count`, as a table."""
    print(format_count(count(model, input_shape)))


def compare(row, base=None):
    """Builds the model of a row of a paper's table and counts it.

    Args:
        row: A `train.paper_tables.Row`.
        base: `Cost` of the table's first row, which ratios refer to; None for that row itself.

    Returns:
        [(ours, mark), ...], one for each figure of the row, and the model's `Cost`.
    """
    counted = count(row.make())
    cost = counted.total
    compared = []
    for figure in row.figures:
        number = CONVENTIONS[figure.convention]
        ours = _as_printed(number(cost), figure.expected, base and number(base))
        if counted.uncounted or ours != figure.expected:
            compared.append((ours, DIFFERS))
        else:
            compared.append((ours, MATCHES if agrees_with_paper(figure) else f"{KNOWN}: {figure.note}"))
    return compared, cost


def agrees_with_paper(figure):
    """Returns whether the paper's print is what the expected figure rounds to; True where it has none."""
    if not figure.paper:
        return True
    exact = float(figure.expected.rstrip("x").replace(",", ""))
    millions = exact / 1e6 if "," in figure.expected else exact
    return _rounded(millions, figure.paper) == figure.paper


def print_papers(tables=TABLES):
    """Prints the papers' tables: each figure as the paper has it, as expected and as counted here.

    Returns:
        How many figures differ from what is expected.
    """
    differing = figures = known = 0
    for table in tables:
        lines, base = [_COLUMNS], None
        for row in table.rows:
            compared, cost = compare(row, base)
            base = base or cost
            names, executed = [row.name], [f"{cost.executed / 1e9:.4f}"]
            for figure, (ours, mark) in zip(row.figures, compared, strict=True):
                name, total = names.pop() if names else "", executed.pop() if executed else ""
                lines.append((name, figure.convention, figure.paper, figure.expected, ours, total, mark))
                figures, known = figures + 1, known + mark.startswith(KNOWN)
                differing += mark == DIFFERS
        print(f"\n{table.title}\n\n{textwrap.fill(table.note, 110)}\n")
        _print_aligned(lines)
    print(f"\n{figures} figures: {differing} differ from the expected ones, {known} are {KNOWN}s")
    return differing


def main(argv):
    """Prints what the flags ask for; the status is 1 where a figure is not the expected one."""
    del argv
    if flags.FLAGS.papers:
        sys.exit(1 if print_papers() else 0)
    try:
        run = config.config_from_flags(flags.FLAGS, needed=())
        network = build_network(dataclasses.replace(run, weights=""), flags.FLAGS.num_classes)
    except ValueError as error:
        sys.exit(f"error: {error}")
    side = flags.FLAGS.side or run.crop
    print(f"{network.name}, one clip of {run.clip_frames}x{side}x{side}, {flags.FLAGS.num_classes} classes\n")
    print_count(network, (run.clip_frames, side, side, 3))


def _as_printed(number, like, base):
    """Writes a number as `like` is written: a ratio to `base`, G with as many decimals, or an integer."""
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
    flags.DEFINE_bool("papers", False, "print the papers' tables beside ours, and nothing else")
    flags.DEFINE_integer("num_classes", 400, "width of the classifier", lower_bound=1)
    flags.DEFINE_integer("side", None, "pixels of the clip's sides; --crop by default", lower_bound=1)
    config.define_flags()
    flags.adopt_module_key_flags(config)  # So that --help lists them.
    app.run(main)
