"""ResNet50, ResNet101 and ResNet152 of keras.applications: .keras, .weights.h5 and .h5.

Their convolutions have biases; they are subtracted from the mean of the batch norm that follows. Its
epsilon is 1.001e-5; the excess over 1e-5 is added to the variance. The stride is on the first 1x1
convolution, as in topology="keras".
"""

import contextlib
import os
import re
import warnings
import zipfile

import keras
import numpy as np

from keras_nonlocal.architecture import DEPTHS, STAGE_NAMES
from keras_nonlocal.checkpoints.names import Format
from keras_nonlocal.checkpoints.plain import visible
from keras_nonlocal.checkpoints.reading import CheckpointError

_EXCESS_EPSILON = 1.001e-5 - 1e-5


def _read(path, shapes):
    """Returns the arrays of a file by path; Keras reads it into a model of keras.applications."""
    path = str(path)
    if not path.endswith((".keras", ".h5")):
        raise CheckpointError(
            f"Expected a .keras, .weights.h5 or .h5 file of keras.applications. Received {path!r}. "
            "Try: `save_weights` of the model."
        )
    if path.endswith(".keras"):
        _check_archive(path)
    has_head = "fc/kernel" in shapes
    legacy = path.endswith(".h5") and not path.endswith(".weights.h5")
    # Without its head, Keras can read an old file only by name, and skips what the model has no name
    # for. So the deepest network reads it, and tensors that our network lacks are reported later.
    by_name = legacy and not has_head
    classes = {"classes": shapes["fc/kernel"][-1]} if has_head else {}
    depth = 152 if by_name else _depth(shapes)
    model = getattr(keras.applications, f"ResNet{depth}")(weights=None, include_top=has_head, **classes)
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan))
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns of what it skips; that stays NaN
            model.load_weights(path, **({"by_name": True} if by_name else {}))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"Expected a file of keras.applications.ResNet{depth} with the same classes in {path!r}. "
            f"Received one that Keras refuses: {visible(' '.join(str(error).split()))}. "
            "Try: ignore_head=True for other classes, or the depth of the file."
        ) from None
    arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    return {path: array for path, array in arrays.items() if not np.isnan(array).all()}


def _check_archive(path):
    """Raises CheckpointError for what grows as it is read: Keras compresses nothing."""
    size = os.path.getsize(path)
    with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else contextlib.nullcontext() as archive:
        total = sum(member.file_size for member in archive.infolist()) if archive else 0
    if total > size:
        raise CheckpointError(
            f"Expected an archive as Keras writes it, of at most {size} bytes, not compressed. "
            f"Received members of {total} bytes. Try: `save` of the model."
        )


def _depth(shapes):
    """Returns the depth that has as many residual blocks in every stage as our network."""
    places = {found[1] for path in shapes if (found := re.match(r"(res\d_\d+)_conv3/", path))}
    counts = tuple(sum(place.startswith(stage) for place in places) for stage in STAGE_NAMES)
    for depth, kind in DEPTHS.items():
        if kind.bottleneck and kind.block_counts == counts:
            return depth
    raise CheckpointError(
        "Expected a network of depth 50, 101 or 152, as keras.applications has them. "
        f"Received one with {counts} bottlenecks in its stages. Try: depth=50, with topology='keras'."
    )


def _without_biases(weights):
    """Folds the biases into the means and the larger epsilon into the variances."""
    weights = dict(weights)
    for name in [name for name in weights if name.endswith("_conv/bias")]:
        mean = name.replace("_conv/bias", "_bn/moving_mean")
        if mean in weights and weights[mean].shape == weights[name].shape:
            weights[mean] = weights[mean] - weights.pop(name)
    for name in [name for name in weights if name.endswith("_bn/moving_variance")]:
        weights[name] = weights[name] + _EXCESS_EPSILON
    return weights


FORMAT = Format(
    read=_read,
    adapt=_without_biases,
    channels_first=False,
    strided_conv=1,
    separator="/",
    norm_leaves={leaf: leaf for leaf in ("gamma", "beta", "moving_mean", "moving_variance")},
    layer_leaves={leaf: leaf for leaf in ("kernel", "bias")},
    words={f"block{index + 1}": str(index) for index in range(max(DEPTHS[152].block_counts))},
    layers={
        r"conv1_conv": "stem_conv",
        r"conv1_bn": "stem_norm",
        r"conv([2-5])_(block\d+)_0_conv": "res{}_{}_shortcut_conv",
        r"conv([2-5])_(block\d+)_0_bn": "res{}_{}_shortcut_norm",
        r"conv([2-5])_(block\d+)_([1-3])_conv": "res{}_{}_conv{}",
        r"conv([2-5])_(block\d+)_([1-3])_bn": "res{}_{}_norm{}",
        r"predictions": "fc",
    },
)
