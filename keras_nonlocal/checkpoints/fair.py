"""FAIR's C2D and I3D, Caffe2: facebookresearch/video-nonlocal-net, and PySlowFast's .pkl.

`riv` is a variance, in spite of its name. Affine files have the scale and shift of frozen batch norms
and no statistics. ImageNet's files have image kernels.
"""

import numpy as np

from keras_nonlocal.checkpoints.names import Format, tensors_of
from keras_nonlocal.checkpoints.reading import read_caffe2

_EPSILON = 1e-5  # every batch norm of this library has it


def _read(path, shapes):
    return tensors_of(read_caffe2(path), "blobs", path)


def _with_statistics(weights):
    """Adds to an affine file the statistics with which a batch norm computes s * x + b."""
    if any(name.endswith(("_rm", "_riv")) for name in weights):
        return weights
    added = {}
    for name, scale in weights.items():
        if name.endswith("_bn_s"):
            for leaf, value in (("rm", 0.0), ("riv", 1 - _EPSILON)):
                added[f"{name[:-1]}{leaf}"] = np.broadcast_to(value, scale.shape)
    return weights | added


FORMAT = Format(
    read=_read,
    adapt=_with_statistics,
    dropped=r".*_momentum|lr|model_iter",
    separator="_",
    norm_leaves={"s": "gamma", "b": "beta", "rm": "moving_mean", "riv": "moving_variance"},
    layer_leaves={"w": "kernel", "b": "bias"},
    words={"a": "1", "b": "2", "c": "3"},
    layers={
        r"conv1": "stem_conv",
        r"res_conv1_bn": "stem_norm",
        r"(res[2-5]_\d+)_branch1": "{}_shortcut_conv",
        r"(res[2-5]_\d+)_branch1_bn": "{}_shortcut_norm",
        r"(res[2-5]_\d+)_branch2([abc])": "{}_conv{}",
        r"(res[2-5]_\d+)_branch2([abc])_bn": "{}_norm{}",
        r"nonlocal_conv([2-5]_\d+)_(theta|phi|g|out)": "res{}_block/{}",
        r"nonlocal_conv([2-5]_\d+)_bn": "res{}_block/norm",
        r"pred": "fc",
    },
)
