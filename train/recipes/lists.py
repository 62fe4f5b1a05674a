"""The list of rows, for a terminal and as a page of the docs."""

from train.recipes.rows import FLAG_FILES, PAPERS

_INTRODUCTION = """\
# Published results, and the flag files that repeat them

{count} rows: every accuracy of the four papers and of their released code. {trained} of them have a flag
file; the others are listed with what stands in the place of one. `python -m train.recipes --markdown` wrote
this page from the files.

A flag file names data, start and run: `data/DATASET`, `weights/`, `runs/ROW`. What stands after it on a
command line takes the place of what is in it:

```console
$ python -m train --flagfile=train/flagfiles/nl/2c.r50.nl5.flags --data_dir=/videos/kinetics400
```

Parameters, and multiply-adds of convolutions and of attention, in the paper's order, are those of this
library for one training clip; [what the papers print](decisions/0029-the-papers-figures.md) is counted in
other ways. What the text of a paper and its released code do differently stands at the beginning of each
file."""
_HEADS = ("row", "published", "parameters", "multiply-adds", "data", "recipe", "blocks", "here")


def as_text(rows):
    """Returns rows as lines for a terminal, in columns."""
    table = [("row", *_HEADS[1:3], "mult.-adds", "data", "blocks", "here or instead")]
    table += [(r.name, r.published, *_costs(r), r.data_set, _blocks(r), r.instead or _here(r)) for r in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join(lines)


def as_markdown(rows):
    """Returns rows as a page: a table of each paper's flag files, and one of the rows without."""
    trained = [row for row in rows if row.path]
    parts = [_INTRODUCTION.format(count=len(rows), trained=len(trained))]
    for paper, title in PAPERS.items():
        if own := [row for row in trained if row.paper == paper]:
            lines = [
                (_link(r), r.published, *_costs(r), r.data_set, r.recipe, _blocks(r), _here(r)) for r in own
            ]
            parts += [f"## {title}", _table(_HEADS, lines)]
    lines = [(r.name, r.published, r.data_set, r.source, r.instead) for r in rows if not r.path]
    if lines:
        parts += [
            "## Rows without a flag file",
            _table(("row", "published", "data", "source", "instead"), lines),
        ]
    return "\n\n".join(parts) + "\n"


def _link(row):
    file = row.path.removeprefix(FLAG_FILES).replace("\\", "/")
    return f"[{row.name}](../train/flagfiles{file})"


def _costs(row):
    if row.parameters is None:
        return "", ""
    attention = f" + {row.attention:.1f}" if row.attention >= 0.05 else ""
    return f"{row.parameters:.2f} M", f"{row.multiply_adds:.1f}{attention} G"


def _here(row):
    """Returns what came out of a row here, without the flags by which."""
    return row.here.partition(" by `")[0].rstrip(",")


def _blocks(row):
    return ", ".join(row.blocks) or ("none" if row.path else "")


def _table(heads, lines):
    cells = [heads, ("---",) * len(heads), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
