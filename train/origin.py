"""What a run starts from: what stands beside its weights, which no shape of theirs tells."""

import dataclasses
import json
import logging
import os
import shlex
from typing import NamedTuple

from keras_nonlocal.architecture import IMAGES, TEMPORAL_KINDS, TOPOLOGIES
from keras_nonlocal.described import described
from keras_nonlocal.moves import of_places
from keras_nonlocal.presets import read_preset
from train.command_line import read_config
from train.config.fields import as_flags
from train.config.network import ADAPT

_logger = logging.getLogger(__name__)

_SUFFIX = ".weights.h5"
# What the weights of a format were made for, where it differs from the defaults of a run.
_PREPROCESSING = {"keras_applications": {"mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0)}}
# Fields that must agree between weights and run; as do the blocks that --block and --blocks describe.
_BUILDS = (
    "depth",
    "temporal",
    "topology",
    "groups",
    "group_width",
    "squeeze_excite_ratio",
    "blocks",
    "mean",
    "std",
)


class NetworkError(ValueError):
    """A configuration describes no network, or the weights that it starts from do not fit it."""


class Origin(NamedTuple):
    """What is known of some weights.

    path: The file that says so.
    fields: Values of fields of `Config`, by name.
    num_classes, images: What the network was besides; None where the file does not say. Clips of one frame
        are images.
    """

    path: str
    fields: dict
    num_classes: int | None = None
    images: bool = False


def origin(weights):
    """Returns the `Origin` of weights, or None if nothing stands beside them.

    Args:
        weights: The path of X.weights.h5, beside which X.weights.json of `train.convert` may be, of a
            `.keras` file, beside which run.flags of its run may be, or the directory of a run or a preset.

    Raises:
        ValueError: The file beside the weights cannot be read, or says that they do not take RGB.
        OSError: A file cannot be opened.
    """
    if weights.endswith(_SUFFIX):
        path = weights.removesuffix(".h5") + ".json"
        return _converted(path) if os.path.isfile(path) else None
    if os.path.isfile(os.path.join(weights, "config.json")):
        return _preset(weights)
    folder = weights if os.path.isdir(weights) else os.path.dirname(weights)
    if not (os.path.isdir(weights) or os.path.basename(weights) == "model.keras"):
        return None
    path = os.path.join(folder, "run.flags")
    if not os.path.isfile(path):
        return None
    run = read_config(folder)
    return Origin(path, dataclasses.asdict(run), images=_is_of_frames(run))


def check_start(config):
    """Raises NetworkError for --adapt without --weights, and warns of frozen norms without them."""
    if config.adapt and not config.weights:
        raise NetworkError(
            "Expected --weights beside --adapt, which says by what the network may differ from theirs. "
            f"Received --adapt={','.join(config.adapt)} alone. Try: --weights=DIR of a run, or --adapt="
        )
    if config.frozen_batch_norm and not config.weights:
        _logger.warning(
            "--frozen_batch_norm keeps batch norms to their running statistics, and without --weights these "
            "are those of no data, mean 0 and variance 1: nothing is normalised."
        )


def check_origin(config, num_classes, images, blocks):
    """Raises NetworkError if what stands beside the weights tells of another network or preprocessing.

    Args:
        config: A `Config` with weights.
        num_classes: The width of its classifier.
        images: Whether its network is one for images.
        blocks: Function (config) -> {place: what its block is}.
    """
    try:
        found = origin(config.weights)
        if found is None:
            return
        told = {name: value for name, value in found.fields.items() if name in (*_BUILDS, "block")}
        if found.images:  # They have no temporal kind, and a clip of one frame may not have any.
            told.pop("temporal", None)
        theirs = dataclasses.replace(config, **told)
        images = images or _is_of_frames(config)
        here, there = _essence(config, images, blocks), _essence(theirs, found.images, blocks)
    except (ValueError, TypeError, OSError) as error:
        raise NetworkError(f"--weights={config.weights}: {error}") from None
    inflates = found.images and not images
    free = ("mean", "std") if "pixels" in config.adapt else ()
    names = [name for name in here if here[name] != there[name] and name not in free]
    if found.images or images:  # Images have no temporal kind, and of a topology the stride alone.
        strides = {TOPOLOGIES[essence["topology"]].strided_conv for essence in (here, there)}
        names = [name for name in names if name != "temporal" and (name != "topology" or len(strides) > 1)]
    moves = of_places(here["blocks"], there["blocks"], inflates) if "blocks" in names else set()
    wrong = [name for name in names if moves is None or name != "blocks"]
    told = [_flags(run, wrong or names, essence) for run, essence in ((theirs, there), (config, here))]
    remedy = told[0]
    if not wrong:
        if found.num_classes not in (None, num_classes):
            moves.add("classes")
            told = [told[0] + f" {found.num_classes} classes", told[1] + f" {num_classes} classes"]
        if inflates:
            moves.add("images")
            told = [told[0] + " a network for images", told[1] + " one for clips"]
        if moves <= {*config.adapt}:
            return
        remedy = "--adapt=" + ",".join(name for name in ADAPT if name in {*moves, *config.adapt})
    expected, received = (text.strip() for text in told)
    raise NetworkError(
        f"Expected {expected}, which {found.path} says of --weights={config.weights}. Received {received}. "
        f"Try: {remedy}"
    )


def _is_of_frames(config):
    """Returns whether the clips of a configuration are images, of which no kernel sees more than one."""
    return config.clip_frames == 1 and config.temporal == "c2d"


def _converted(path):
    try:
        with open(path, encoding="utf-8") as file:
            described = json.load(file)
        fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in described.get("model_flags", {}).items()
        }
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"Expected what python -m train.convert writes beside weights. Received {path!r}: {error}. "
            "Try: converting them again, or removing that file."
        ) from None
    made_for = _PREPROCESSING.get(described.get("format"), {})
    if made_for and not described.get("reverse_channels"):
        raise ValueError(
            f"Expected --weights that take RGB. Received those that {path!r} describes, which take BGR. "
            "Try: python -m train.convert again, with --reverse_channels."
        )
    classes, images = fields.pop("num_classes", None), fields.pop("images", False)
    kept = {name: tuple(described[name]) for name in ("mean", "std") if name in described}
    return Origin(path, fields | made_for | kept, classes, images)


def _preset(weights):
    preset = read_preset(weights)
    if (divisor := preset.arguments.get("shift_divisor", 8)) != 8:
        raise ValueError(
            f"Expected a network that shifts an eighth of its channels, as a run's. Received one that shifts "
            f"1 / {divisor}. Try: VideoResNet.from_preset, in Python."
        )
    fields = {name: value for name, value in preset.arguments.items() if name in _BUILDS}
    fields["squeeze_excite_ratio"] = fields.get("squeeze_excite_ratio") or 0
    fields |= {
        name: tuple(preset.preprocessing[name]) for name in ("mean", "std") if name in preset.preprocessing
    }
    places = fields.pop("blocks", {})
    made = {f"{stage}_{i}": make(name="block") for stage, row in places.items() for i, make in row.items()}
    fields |= {"blocks": tuple(made), "block": tuple(f"{p}={_text(described(b))}" for p, b in made.items())}
    path = os.path.join(weights, "config.json")
    one_frame = preset.arguments.get("input_shape", (0,))[0] == 1 and fields.get("temporal") == "c2d"
    images = preset.images or one_frame
    return Origin(path, fields, preset.arguments.get("num_classes"), images)


def _text(block):
    """Returns a described block as --block has it."""
    inner = {
        name: _text(value) if isinstance(value, dict) else repr(value)
        for name, value in block["arguments"].items()
    }
    return f"{block['class']}({', '.join(f'{name}={text}' for name, text in inner.items())})"


def _essence(config, images, blocks):
    """Returns what must agree between weights and run, by the names of the fields; most has no shape."""
    kind = IMAGES if images else TEMPORAL_KINDS[config.temporal]
    return {name: getattr(config, name) for name in _BUILDS} | {
        "topology": config.topology or kind.topology,
        "blocks": blocks(config),
    }


def _flags(config, names, essence):
    fields = {field.name: field for field in dataclasses.fields(config)}
    names = [*names, "block"] if "blocks" in names else names
    values = {name: getattr(config, name) for name in names}
    if "topology" in values:
        values["topology"] = essence["topology"]
    return shlex.join(flag for name, value in values.items() for flag in as_flags(fields[name], value))
