"""Moves: by what a network may differ from the one that its weights were saved from, where it is asked for.

A move is named by whoever loads the weights (`adapt`), as none of them keeps the answer of the network.
"""

# name -> what it allows; in the order in which they are told.
MOVES = {
    "classes": "the classifier stays at its start, as the classes are others",
    "blocks": "attention blocks that the weights lack stay at their start",
    "images": "weights of a network for images; its kernels are repeated where ours span time",
    "bat": "a BilinearAttentionTransform gets temporal matrices, which stay at their start, and "
    "another normalization or matrix_size",
    "frames": "temporal matrices of another temporal_size stay at their start; another window_frames",
}
# The arguments of a block that may differ: block -> argument -> the move by which.
_ARGUMENTS = {
    "BilinearAttentionTransform": {
        "normalization": "bat",
        "matrix_size": "bat",
        "temporal_groups": "bat",
        "temporal_size": "frames",
    },
    "NonLocal": {"window_frames": "frames"},
}
# Arguments that change how a layer is trained or begins, and what the network is given, but not its answer.
_FREE = {
    *("name", "trainable", "dtype", "seed", "rate", "dropout", "momentum", "synchronized", "batch_shape"),
    "frozen_batch_norm",
    *("module", "registered_name", "build_config", "shared_object_id", "renorm_momentum", "inbound_nodes"),
}
# What files that are older than an argument mean by its absence.
_ADDED = {"context_channels": None, "normalize": False, "use_bias": True, "batch_norm": True}
_FREE_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_HEAD, _BILINEAR = "fc", "BilinearAttentionTransform"


def checked_moves(adapt, builder):
    """Returns moves as a tuple, in the order of `MOVES`.

    Args:
        adapt: Names of moves, or one text with commas between them.
        builder: The name of the called function, with which the error begins.

    Raises:
        ValueError: A name is unknown.

    Example:
        >>> checked_moves("images, classes", "VideoResNet")
        ('classes', 'images')
    """
    names = [name.strip() for name in adapt.split(",")] if isinstance(adapt, str) else list(adapt)
    if unknown := [name for name in names if name and name not in MOVES]:
        raise ValueError(
            f"{builder}: Expected names of `adapt` among {', '.join(MOVES)}. Received {unknown[0]!r}. "
            'Try: adapt="classes".'
        )
    return tuple(name for name in MOVES if name in names)


def as_argument(moves):
    """Returns the argument that names some moves, as in Python and, with dashes before it, in a shell."""
    return f'adapt="{",".join(name for name in MOVES if name in moves)}"'


def of_missing(layer, inner, kind, has_layer):
    """Returns the move that allows a variable which the weights lack, or None.

    Args:
        layer: The name of its layer.
        inner: Its name in this, such as "t/0".
        kind: The name of the layer's class.
        has_layer: Whether the weights have other variables of this layer.
    """
    if layer == _HEAD:
        return "classes"
    if layer.endswith("_block") and not has_layer:
        return "blocks"
    return "bat" if kind == _BILINEAR and inner.startswith("t/") else None


def of_shape(layer, inner, kind):
    """Returns the move that allows another shape of a variable in the weights, or None; see `of_missing`."""
    if layer == _HEAD:
        return "classes"
    return "frames" if kind == _BILINEAR and inner.startswith("t/") else None


def is_inflated(here, there):
    """Returns whether one shape is that of a kernel which spans time, and the other that of its images."""
    return len(there) == 4 and here[1:] == there


def of_blocks(here, there, of_images):
    """Returns the moves that lead from one block to another.

    Args:
        here, there: Two blocks, serialised, of the network and of its weights.
        of_images: Whether the weights are those of a network for images, which have no temporal matrices.

    Returns:
        A set of moves, empty for equal blocks; or None, if no move leads there.
    """
    kind = here.get("class_name") if isinstance(here, dict) else None
    if here == there:
        return set()
    if not isinstance(there, dict) or there.get("class_name") != kind or kind not in _ARGUMENTS:
        return None
    ours, theirs = here["config"], there.get("config")
    if not isinstance(theirs, dict):
        return None
    theirs = dict(theirs)
    if kind == _BILINEAR and (of_images or theirs.get("temporal_groups") == 0):
        theirs["temporal_size"] = ours["temporal_size"]  # There are no such matrices.
        if of_images:
            theirs["temporal_groups"] = ours["temporal_groups"]
    elif kind == _BILINEAR and theirs.get("temporal_groups") != ours["temporal_groups"]:
        return None
    changed = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    moves = {_ARGUMENTS[kind].get(name) for name in changed}
    return None if None in moves else moves


def of_places(here, there, of_images):
    """Returns the moves that lead from the blocks of some weights to those of a network, or None.

    Args:
        here, there: {place: serialised block} of the network and of its weights.
        of_images: As in `of_blocks`.
    """
    moves = {"blocks"} if here.keys() > there.keys() else set()
    for place, block in there.items():
        found = of_blocks(here.get(place), block, of_images)
        if found is None:
            return None
        moves |= found
    return moves


def lasting(config):
    """Returns a serialised object without what does not change its answer, such as initializers and names."""
    if isinstance(config, dict):
        return {
            key: lasting(value)
            for key, value in config.items()
            if key not in _FREE and not key.endswith(_FREE_ENDINGS) and value is not _ADDED.get(key, _ADDED)
        }
    return [lasting(item) for item in config] if isinstance(config, list | tuple) else config
