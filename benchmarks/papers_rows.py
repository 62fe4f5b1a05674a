"""What the papers' tables are made of: figures, rows, and tables."""

from collections.abc import Callable
from typing import NamedTuple


class Figure(NamedTuple):
    """One figure of a row.

    by: The convention of counting, a key of `papers_conventions.figures_of`.
    printed: What the paper prints, parameters in millions and all else in G, or whole where it has commas;
        "~" before it means that it is round in its last zero too; "" where no paper prints it.
    ours: What is counted here: parameters as an int with commas, all else in G; with a sign, how much more
        it is than that of the row's base; with an "x" or a "%" at its end, the ratio to it.
    reason: Why ours does not round to what the paper prints.
    """

    by: str
    printed: str
    ours: str
    reason: str = ""


class Row(NamedTuple):
    """A line of a table: its name, a function that builds the model, its figures, and its base's function."""

    name: str
    make: Callable
    figures: tuple
    base: Callable | None = None


class Table(NamedTuple):
    """A table: its title, how its figures were counted, and its rows."""

    title: str
    note: str
    rows: tuple


def row(name, make, *figures, base=None):
    """Returns a `Row` whose figures are given as tuples."""
    return Row(name, make, tuple(Figure(*figure) for figure in figures), base)
