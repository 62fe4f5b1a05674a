"""The fields of the network."""

import dataclasses
import functools

from keras_nonlocal.architecture import DEPTHS, TEMPORAL_KINDS, TOPOLOGIES
from keras_nonlocal.moves import MOVES
from train.config.fields import (
    Constraint,
    at_least,
    field_of,
    from_to_below,
    one_of,
)

_network = functools.partial(field_of, "network")
# The moves of `keras_nonlocal.moves`, and what the weights themselves do not tell.
ADAPT = MOVES | {"pixels": "the pixels have another mean and std, to which the first norms adapt"}


@dataclasses.dataclass(frozen=True)
class NetworkFields:
    """What is trained."""

    depth: int = _network(50, "depth of the ResNet", one_of(*DEPTHS))
    temporal: str = _network("tsm", "how the network spans time", one_of(*TEMPORAL_KINDS))
    topology: str = _network(
        "",
        "where the network strides and pools, empty for what --temporal has",
        one_of("", *TOPOLOGIES),
        none=True,
    )
    groups: int = _network(
        1, "groups of the 3x3 convolutions: 32, with --group_width=4, in ResNeXt", at_least(1)
    )
    group_width: int = _network(64, "channels of a group in res2", at_least(1))
    squeeze_excite_ratio: int = _network(
        0, "reduction of the SE layer in residual blocks, 0 for no such layer", at_least(0), none=True
    )
    frozen_batch_norm: bool = _network(False, "keep batch norms to their running statistics, also in blocks")
    weights: str = _network(
        "",
        "what to start from: X.weights.h5 of train.convert, a .keras file, or the directory of a run or a "
        "preset, of the same network but for --adapt; empty for random",
        none=True,
    )
    adapt: tuple[str, ...] = _network(
        (),
        "by what the network may differ from that of --weights: "
        + "; ".join(f"{name}, {words}" for name, words in ADAPT.items()),
        Constraint(lambda names: {*names} <= {*ADAPT}, f"names among {', '.join(ADAPT)}", tuple(ADAPT)),
    )
    block: tuple[str, ...] = _network(
        ("RegionNonLocal",),
        "attention block, with its arguments as in NonLocal(scaled=True), for all places or as in "
        "res4=NonLocal for some; repeat the flag for several",
        repeated=True,
    )
    blocks: tuple[str, ...] = _network(
        ("res3_0", "res3_2", "res4_0", "res4_2", "res4_4"),
        "residual blocks, 0-based, after which an attention block stands, or a placement such as nl5",
    )
    dropout: float = _network(0.5, "fraction of features dropped at the classifier", from_to_below(0, 1))
    dtype_policy: str = _network(
        "float32", "precision of the layers", one_of("float32", "mixed_float16", "mixed_bfloat16")
    )
