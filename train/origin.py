"""What a run starts from: what stands beside its weights, which no shape of theirs tells."""

import dataclasses
import json
import os
from typing import NamedTuple

from train.config import read_config

_SUFFIX = ".weights.h5"
# What the weights of a format were made for, where it differs from the defaults of a run.
_PREPROCESSING = {"keras_applications": {"mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0)}}


class Origin(NamedTuple):
    """What is known of some weights.

    path: The file that says so.
    fields: Values of fields of `Config`, by name.
    num_classes, images: What the network was besides; None where the file does not say.
    """

    path: str
    fields: dict
    num_classes: int | None = None
    images: bool = False


def origin(weights):
    """Returns the `Origin` of weights, or None if nothing stands beside them.

    Args:
        weights: The path of X.weights.h5, beside which X.weights.json of `train.convert` may be, of a
            `.keras` file, beside which run.flags of its run may be, or of a run's directory.

    Raises:
        ValueError: The file beside the weights cannot be read, or says that they do not take RGB.
        OSError: A file cannot be opened.
    """
    if weights.endswith(_SUFFIX):
        path = weights.removesuffix(".h5") + ".json"
        return _converted(path) if os.path.isfile(path) else None
    folder = weights if os.path.isdir(weights) else os.path.dirname(weights)
    if not (os.path.isdir(weights) or os.path.basename(weights) == "model.keras"):
        return None
    path = os.path.join(folder, "run.flags")
    return Origin(path, dataclasses.asdict(read_config(folder))) if os.path.isfile(path) else None


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
    return Origin(path, fields | made_for, classes, images)
