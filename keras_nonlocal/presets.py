"""Presets: a network in a folder, from which `VideoResNet.from_preset` makes it again without running code.

config.json         arguments of `VideoResNet`; blocks are layers of this library, as data
model.weights.h5    the weights
labels.json         the names of the classes, in the order of the logits
preprocessing.json  what a clip is: frames, size, mean, std, and how it is sampled
README.md           the card: what the network is, from which data, what was measured
checksums.json      the sha256 of each of these
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from typing import NamedTuple

from keras_nonlocal.checkpoints.plain import visible
from keras_nonlocal.checkpoints.reading import open_file
from keras_nonlocal.described import arguments_of, as_arguments, as_data, without_memory
from keras_nonlocal.resnet import ImageResNet, VideoResNet

WEIGHTS = "model.weights.h5"
FILES = ("config.json", WEIGHTS, "labels.json", "preprocessing.json", "README.md")
_FORMAT, _MOST_BYTES = 1, 2**20
_HUBS = {"hf://": "huggingface_hub", "kaggle://": "kagglehub"}


class Preset(NamedTuple):
    """What a preset says.

    directory: Where its files lie.
    arguments: Arguments of `VideoResNet`, or of `ImageResNet`.
    images: Whether it is a network for images.
    labels: The names of the classes, or an empty list.
    preprocessing: Dictionary of what a clip is, as far as it was said.
    card: The text of README.md.
    """

    directory: str
    arguments: dict
    images: bool
    labels: list
    preprocessing: dict
    card: str


def save_to_preset(directory, model, labels=(), preprocessing=None, card=None):
    """Writes a network to a new folder, which is there whole, or not at all.

    Initializers, regularizers and constraints of blocks are left out: they do not change the answer.

    Args:
        directory: The folder, which is made.
        model: A network of `VideoResNet` or `ImageResNet`, also one that Keras has read from a file.
        labels: Names of the classes, as many as the network has logits; or none.
        preprocessing: Dictionary for JSON: of a clip, "frames", "size" in pixels, "mean" and "std" of the
            channels in grey levels, and what else there is to say, as "sampling", "window_frames", "fps".
        card: Text of README.md, in Markdown; None for one that says what the network is.

    Raises:
        ValueError: Such a network cannot be described by the builder's arguments and layers of this library;
            or there are more or fewer labels than logits.
        FileExistsError: The directory is there already.
        OSError: It cannot be written.

    Example:
        >>> path = os.path.join(tempfile.mkdtemp(), "shapes")
        >>> save_to_preset(path, VideoResNet(18, num_classes=2), labels=["round", "square"])
        >>> VideoResNet.from_preset(path).output_shape, read_preset(path).labels
        ((None, 2), ['round', 'square'])
    """
    directory = os.path.abspath(os.fspath(directory))
    arguments, images = arguments_of(model)
    labels, preprocessing = list(labels), dict(preprocessing or {})
    if labels and len(labels) != arguments["num_classes"]:
        raise ValueError(
            f"save_to_preset: Expected a name for each of the {arguments['num_classes']} classes. "
            f"Received {len(labels)}. Try: labels=[...] in the order of the logits, or none."
        )
    if os.path.exists(directory):
        raise FileExistsError(
            f"save_to_preset: Expected a new directory. Received {directory!r}, which exists. "
            "Try: another one."
        )
    config = {"format": _FORMAT, "images": images, "arguments": as_data(arguments)}
    texts = {
        "config.json": json.dumps(config, indent=1),
        "labels.json": json.dumps(labels, indent=1),
        "preprocessing.json": json.dumps(preprocessing, indent=1),
        "README.md": card or _card(model, arguments, labels, preprocessing),
    }
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    partial = tempfile.mkdtemp(prefix=".partial-", dir=os.path.dirname(directory))
    try:
        model.save_weights(os.path.join(partial, WEIGHTS))
        for name, text in texts.items():
            _write(os.path.join(partial, name), text)
        sums = {name: _sha256(os.path.join(partial, name)) for name in FILES}
        _write(os.path.join(partial, "checksums.json"), json.dumps(sums, indent=1))
        os.chmod(partial, 0o755)
        os.rename(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_preset(handle, **arguments):
    """Returns the network of a preset, with its weights; `VideoResNet.from_preset` is this function.

    Args:
        handle: A directory, "hf://USER/NAME" or "kaggle://USER/MODEL/FRAMEWORK/VARIATION".
        arguments: Arguments of `VideoResNet` in the place of the preset's own, such as num_classes=5 with
            adapt="classes", or weights=None for the network alone.

    Raises:
        ValueError: It is no sound preset, or the arguments do not go with its weights.
        ModuleNotFoundError: The client package that the handle needs is not installed.
    """
    preset = read_preset(handle)
    weights = os.path.join(preset.directory, WEIGHTS)
    given = preset.arguments | {"weights": weights} | arguments
    build = ImageResNet if preset.images else VideoResNet
    try:
        _check_size(lambda: build(**preset.arguments), os.path.getsize(weights))
        return build(**given)
    except Exception as error:  # Whatever the numbers of a stranger cause.
        if isinstance(error, ValueError) and " Try: " in str(error):
            raise
        raise _wrong(handle, f"{type(error).__name__}: {error}") from error


def read_preset(handle):
    """Returns the `Preset` of a handle, whose files have been held against their checksums.

    Args:
        handle: A directory, "hf://USER/NAME", at a revision "hf://USER/NAME@REVISION", or
            "kaggle://USER/MODEL/FRAMEWORK/VARIATION".

    Raises:
        ValueError: A file is missing, is no file, or is not what its checksum says; a description is not one
            of this library's.
        ModuleNotFoundError: The client package for this handle is not installed.
    """
    directory = _downloaded(os.fspath(handle))
    if not os.path.isfile(os.path.join(directory, "config.json")):
        raise _wrong(handle, "no config.json in a directory of this name")
    try:
        sums = json.loads(_text(directory, "checksums.json"))
        if not isinstance(sums, dict) or sums.keys() != {*FILES}:
            raise ValueError(f"checksums.json, which is not of {', '.join(FILES)}")
        texts = {name: _text(directory, name) for name in FILES if name != WEIGHTS}
        found = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
        found[WEIGHTS] = _sha256(os.path.join(directory, WEIGHTS))
        if changed := [name for name in FILES if found[name] != sums[name]]:
            raise ValueError(f"{', '.join(changed)} with other bytes than checksums.json says")
        config, labels, preprocessing = (json.loads(text) for text in list(texts.values())[:3])
        if not isinstance(config, dict) or config.get("format") != _FORMAT:
            raise ValueError(f"config.json of another format than {_FORMAT}")
        images = config.get("images") is True
        arguments = as_arguments(config.get("arguments"), images)
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            raise ValueError("labels.json without a list of names")
        if labels and len(labels) != arguments.get("num_classes"):
            raise ValueError(f"{len(labels)} labels of {arguments.get('num_classes')} classes")
        if not isinstance(preprocessing, dict):
            raise ValueError("preprocessing.json without a dictionary")
        card = texts["README.md"].decode("utf-8", errors="replace")
    except Exception as error:  # Whatever the files of a stranger cause.
        raise _wrong(handle, f"{error or type(error).__name__}") from error
    return Preset(directory, arguments, images, labels, preprocessing, card)


def _wrong(handle, found):
    found = visible(" ".join(found.split()), 400).rstrip(".")
    return ValueError(
        f"from_preset: Expected the whole preset that save_to_preset wrote in {str(handle)!r}. "
        f"Received {found}. Try: downloading or writing it again."
    )


def _downloaded(handle):
    """Returns the directory of a handle, downloaded by the client package of its hub."""
    prefix = next(filter(handle.startswith, _HUBS), None)
    if prefix is None:
        return handle
    name, _, revision = handle.removeprefix(prefix).partition("@")
    try:
        if prefix == "hf://":
            import huggingface_hub

            files = [*FILES, "checksums.json"]
            return huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=files)
        import kagglehub

        return kagglehub.model_download(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"from_preset: Expected the package {_HUBS[prefix]}, which downloads {handle!r}. Received no "
            f"such package. Try: pip install {_HUBS[prefix]}, or the folder on a disk."
        ) from None


def _check_size(build, file_bytes):
    """Raises ValueError for a network that its file of weights cannot fill, before it takes any memory."""
    with without_memory():
        count = sum(math.prod(weight.shape) for weight in build().weights)
    if count > file_bytes:  # Of four bytes a weight there are fewer.
        raise ValueError(
            f"Expected weights for the network that config.json describes. Received {file_bytes:,} bytes for "
            f"{count:,} weights. Try: downloading it again."
        )


def _text(directory, name):
    """Returns the bytes of a small file."""
    with open_file(os.path.join(directory, name)) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{name} of more than {_MOST_BYTES:,} bytes")
    return data


def _sha256(path):
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n" * (not text.endswith("\n")))


def _card(model, arguments, labels, preprocessing):
    """Returns the card of a network of which nothing more is known than its arguments."""
    rows = {"parameters": f"{model.count_params():,}", "classes": arguments["num_classes"]}
    rows |= {name: value for name, value in arguments.items() if name in ("depth", "temporal", "topology")}
    lines = [
        f"# {model.name}",
        "",
        "A network of keras_nonlocal. `VideoResNet.from_preset` loads this folder.",
    ]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += [f"| {name} | {value} |" for name, value in preprocessing.items()]
    return "\n".join(lines + ["", f"Classes: {', '.join(labels)}."] * bool(labels)) + "\n"


VideoResNet.from_preset, VideoResNet.save_to_preset = load_preset, save_to_preset
