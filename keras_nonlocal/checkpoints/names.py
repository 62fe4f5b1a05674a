"""A format says how tensors are named here and there, where they lie in a file and how they are laid out."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from keras_nonlocal.checkpoints.reading import CheckpointError, read_torch

# The last part of a tensor's name, for layers that are called norms here and for all others.
TORCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
TORCH_LAYER = {"weight": "kernel", "bias": "bias"}
# torchvision counts the stages from 1; the papers count the stem as 1.
TORCH_STAGES = {f"layer{stage}": f"res{stage + 1}" for stage in range(1, 5)}


class Format(NamedTuple):
    """One kind of checkpoint.

    layers: layer there, as a regular expression -> layer here; its groups fill the braces.
    words: what a group matches -> what fills its braces, where they differ; a dict or function of all names.
    read: called as read(path, shapes of our variables); returns tensors by name.
    norm_leaves, layer_leaves: last part of a name there -> here, of norms and of all other layers.
    separator: what comes before that last part.
    dropped: regular expression of the names that are not used.
    adapt: called with the arrays by name before they are renamed; returns those to be renamed.
    channels_first: kernels are O, I, then their sides; False: laid out as Keras's.
    strided_conv: convolution of a bottleneck that has the stride, 1 or 2; None where that varies.
    """

    layers: Mapping
    read: Callable
    words: Mapping | Callable = TORCH_STAGES
    norm_leaves: Mapping = TORCH_NORM
    layer_leaves: Mapping = TORCH_LAYER
    separator: str = "."
    dropped: str = r".*\.num_batches_tracked"
    adapt: Callable = dict
    channels_first: bool = True
    strided_conv: int | None = None


def torch_file(level):
    """Returns the reader of torch files whose tensors lie under the key `level`, or at the top."""

    def read(path, shapes):
        return tensors_of(read_torch(path), level, path)

    return read


def tensors_of(tree, level, path):
    """Returns the tensors by name that an object tree holds under the key `level`, or at the top."""
    if isinstance(tree, Mapping) and isinstance(tree.get(level), Mapping):
        tree = tree[level]
    if not isinstance(tree, Mapping) or not tree or not all(isinstance(name, str) for name in tree):
        raise CheckpointError(
            f"Expected tensors by name in {str(path)!r}, at the top or under {level!r}. "
            f"Received {type(tree).__name__}. Try: the file that the training program wrote."
        )
    return tree


def rename(form, names):
    """Returns our variable path for each name of a format; None for a name that it does not know.

    Paths are without "/conv/": "res3_0_conv1/kernel" for kernels with and without time.
    """
    words = form.words(names) if callable(form.words) else form.words
    return {name: _rename(form, words, name) for name in names}


def is_dropped(form, name):
    """Returns whether a format leaves a tensor unused."""
    return re.fullmatch(form.dropped, name) is not None


def _rename(form, words, name):
    layer, _, leaf = name.removeprefix("module.").rpartition(form.separator)
    for pattern, ours in form.layers.items():
        if found := re.fullmatch(pattern, layer):
            ours = ours.format(*(words.get(word, word) for word in found.groups()))
            leaves = form.norm_leaves if "norm" in ours.rsplit("/", 1)[-1] else form.layer_leaves
            return f"{ours}/{leaves[leaf]}" if leaf in leaves else None
    return None
