"""RNL on TSM: region-based-non-local-network of Huang and Bors.

A residual block that a region-based one follows is called `block`, as in TSM's files. `penta` holds a
grouped kernel and a frozen mask of its shape: the depthwise kernel of channel o is weight[o, o % n],
with n channels in a group. Where a channel gate `cg` comes first, the two are an AttentionChain.
"""

import re

import numpy as np

from keras_nonlocal.checkpoints.names import TORCH_STAGES, Format, torch_file
from keras_nonlocal.checkpoints.reading import CheckpointError
from keras_nonlocal.checkpoints.tsm import TRUNK

_MAX_BLOCKS = 100  # of ResNet-152, each residual block's and more


def _attention(names):
    """Returns the name of the attention at each place, which is within a chain if a gate comes first."""
    words = dict(TORCH_STAGES)
    for name in names:
        if found := re.search(r"\b((layer[1-4])\.(\d+))\.(nl|cg)\.", name):
            place, stage, index, kind = found.groups()
            if kind == "cg" or place not in words:
                words[place] = f"{TORCH_STAGES[stage]}_{index}_block" + "/region" * (kind == "cg")
    return words


def _depthwise(weights):
    """Replaces every masked kernel by the depthwise one, with O = 1 and I = d as Keras has it."""
    weights = dict(weights)
    names = [name for name in weights if name.endswith(".penta.weight")]
    if len(names) > _MAX_BLOCKS:  # each is copied, and a small file may name one tensor again and again
        raise CheckpointError(
            f"Expected at most {_MAX_BLOCKS} region-based blocks. Received {len(names)}. "
            "Try: a model that was trained with the released code."
        )
    for name in names:
        kernel = weights[name]
        if kernel.ndim != 5:
            continue
        channels = np.arange(kernel.shape[0])
        expected = np.zeros(kernel.shape, bool)
        expected[channels, channels % kernel.shape[1]] = True
        mask = weights.get(name.removesuffix("weight") + "mask", expected)
        if not np.array_equal(mask, expected):
            raise CheckpointError(
                f"Expected the mask of {name!r} to keep one channel for each, o % {kernel.shape[1]} for o. "
                "Received another mask. Try: a model that was trained with the released code."
            )
        weights[name] = kernel[channels, channels % kernel.shape[1]][None]  # [1, d, kt, kh, kw]
    return weights


FORMAT = Format(
    read=torch_file("state_dict"),
    words=_attention,
    adapt=_depthwise,
    dropped=r".*\.(num_batches_tracked|penta\.mask)",
    layers=TRUNK
    | {
        r"base_model\.(layer[1-4]\.\d+)\.nl\.theta": "{}/g",
        r"base_model\.(layer[1-4]\.\d+)\.nl\.penta": "{}/region",
        r"base_model\.(layer[1-4]\.\d+)\.nl\.W\.0": "{}/out",
        r"base_model\.(layer[1-4]\.\d+)\.nl\.W\.1": "{}/norm",
        r"base_model\.(layer[1-4])\.(\d+)\.cg\.W_k": "{}_{}_block/channel/mask",
        r"base_model\.(layer[1-4])\.(\d+)\.cg\.W_v1": "{}_{}_block/channel/reduce",
        r"base_model\.(layer[1-4])\.(\d+)\.cg\.bn1": "{}_{}_block/channel/norm",
        r"base_model\.(layer[1-4])\.(\d+)\.cg\.W_v2": "{}_{}_block/channel/expand",
    },
)
