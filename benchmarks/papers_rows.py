"""What the papers' tables are made of: figures, rows, and blocks that several rows have."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_nonlocal import BilinearAttentionTransform, NonLocal

RES3, RES4 = (8, 28, 28, 512), (8, 14, 14, 1024)  # maps of 8 frames of 224x224, without temporal pooling

fair_nl = functools.partial(NonLocal, pool_order="before", scaled=True)
video_bat = functools.partial(
    BilinearAttentionTransform, normalization="softmax", matrix_size="fitted", temporal_groups=4
)


class Figure(NamedTuple):
    """One figure of a row.

    convention: a key of `papers_conventions.figures_of`.
    expected: the exact figure: parameters as an int with commas, all else in G; with an "x" at its end, it is
        the ratio to the table's first row.
    paper: what the paper prints, parameters in millions; "" where nothing is known of it.
    note: why the paper's figure is another one.
    """

    convention: str
    expected: str
    paper: str = ""
    note: str = ""


class Row(NamedTuple):
    """A line of a table: its name, a function that builds the model, and its figures."""

    name: str
    make: Callable
    figures: tuple


class Table(NamedTuple):
    """A table: what its title says, how its paper counts, and its rows."""

    title: str
    note: str
    rows: tuple


def row(name, make, *figures):
    """Returns a `Row` whose figures are given as tuples."""
    return Row(name, make, tuple(Figure(*figure) for figure in figures))


def alone(make_block, shape=RES3):
    """Returns a model of one block."""
    x = keras.Input(shape)
    return keras.Model(x, make_block()(x))
