"""Lists the papers' published results, and the flag files that repeat them.

python -m train.recipes [--paper=nl] [--data_set=kinetics400] [--block=NonLocal] [--markdown]
"""

import os
import sys

from absl import app, flags

from keras_nonlocal.described import BLOCKS
from train.config.fields import nearest, parse_or_end, refuse_words
from train.recipes.lists import as_markdown, as_text
from train.recipes.rows import PAPERS, read_rows


def chosen(rows, paper="", data_set="", block=""):
    """Returns the rows of a paper, a data set and a block, each of which may be empty for all.

    Raises:
        ValueError: A name is unknown.
    """
    names = {
        "paper": (paper, list(PAPERS)),
        "data_set": (data_set, sorted({row.data_set for row in rows})),
        "block": (block, ["none", *BLOCKS]),
    }
    for name, (value, known) in names.items():
        if value and value not in known:
            raise ValueError(
                f"Expected --{name} to be one of {', '.join(known)}. Received {value!r}. "
                f"Try: --{name}={nearest(value, known) or known[0]}"
            )
    return [
        row
        for row in rows
        if paper in ("", row.paper)
        and data_set in ("", row.data_set)
        and (not block or (row.path and block in (row.blocks or ("none",))))
    ]


def main(argv):
    """Prints the rows, or ends with the reason why there are none."""
    values = flags.FLAGS
    try:
        refuse_words(argv)
        rows = chosen(read_rows(), values.paper, values.data_set, values.block)
        if not rows:
            raise ValueError("Expected rows of all of these. Received none. Try: fewer flags")
    except ValueError as error:
        sys.exit(f"error: {error}")
    if values.markdown:
        print(as_markdown(rows), end="")
        return
    print(as_text(rows))
    trained = [row for row in rows if row.path]
    print(f"\n{len(rows)} rows, {len(trained)} with a flag file" + (":" if trained else "."))
    if trained:
        print(f"python -m train --flagfile={os.path.relpath(trained[0].path)}")


if __name__ == "__main__":
    flags.DEFINE_string("paper", "", f"rows of one paper alone: {', '.join(PAPERS)}")
    flags.DEFINE_string("data_set", "", "rows of one data set alone, such as kinetics400")
    flags.DEFINE_string("block", "", "rows with one block alone, such as NonLocal, or none")
    flags.DEFINE_bool("markdown", False, "print the page of the docs")
    app.run(main, flags_parser=parse_or_end)
