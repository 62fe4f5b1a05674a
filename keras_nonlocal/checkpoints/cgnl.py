"""CGNL and its NL on images: KaiyuYue/cgnl-network.pytorch.

A block counts as a member of its stage: the block layer3.5 comes after the residual block layer3.4
and before the residual block layer3.6. The NL has no biases; they are zeros here.
"""

import bisect
import re

import numpy as np

from keras_nonlocal.checkpoints.names import TORCH_STAGES, Format, torch_file


def _places(names):
    """Returns the residual block of each member of a stage; a block belongs to the one before it."""
    members = {found for name in names for found in re.findall(r"\b(layer[1-4])\.(\d{1,3})\.", name)}
    blocks = {found for name in names for found in re.findall(r"\b(layer[1-4])\.(\d{1,3})\.z\.", name)}
    places = {
        stage: sorted(int(place) for there, place in blocks if there == stage) for stage in TORCH_STAGES
    }
    words = {}
    for stage, index in members:
        before = bisect.bisect_right(places[stage], int(index))
        words[f"{stage}.{index}"] = f"{TORCH_STAGES[stage]}_{int(index) - before}"
    return words


def _with_biases(weights):
    """Adds the biases that NonLocal has; a block with a batch norm is a NonLocal."""
    added = {}
    for name in weights:
        if found := re.fullmatch(r"(.*\blayer[1-4]\.\d+)\.bn\.weight", name):
            for projection in (f"{found[1]}.{letter}" for letter in "tpgz"):
                if f"{projection}.weight" in weights:
                    added[f"{projection}.bias"] = np.zeros(weights[f"{projection}.weight"].shape[:1])
    return added | weights


FORMAT = Format(
    read=torch_file("state_dict"),
    words=_places,
    adapt=_with_biases,
    layers={
        r"conv1": "stem_conv",
        r"bn1": "stem_norm",
        r"(layer[1-4]\.\d+)\.conv([1-3])": "{}_conv{}",
        r"(layer[1-4]\.\d+)\.bn([1-3])": "{}_norm{}",
        r"(layer[1-4]\.\d+)\.downsample\.0": "{}_shortcut_conv",
        r"(layer[1-4]\.\d+)\.downsample\.1": "{}_shortcut_norm",
        r"(layer[1-4]\.\d+)\.t": "{}_block/theta",
        r"(layer[1-4]\.\d+)\.p": "{}_block/phi",
        r"(layer[1-4]\.\d+)\.g": "{}_block/g",
        r"(layer[1-4]\.\d+)\.z": "{}_block/out",
        r"(layer[1-4]\.\d+)\.(?:gn|bn)": "{}_block/norm",
        r"fc": "fc",
    },
)
