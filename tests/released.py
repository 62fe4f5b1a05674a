"""Reads the numbers of the released code under tests/fixtures (PyTorch layouts) as channels-last arrays."""

import json
import re
import zlib
from pathlib import Path

import backends
import numpy as np
from keras import ops

FIXTURES = Path(__file__).parent / "fixtures"
TOLERANCES = json.loads((FIXTURES / "tolerances.json").read_text())
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def load_block(name):
    """Return (activations channels last, weights by their released key)."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        activations = {k: np.moveaxis(file[k], 1, -1) for k in ("x", "y_eval", "y_train", "ct", "dx")}
        weights = {k.removeprefix("w/"): file[k] for k in file.files if k.startswith("w/")}
        weights |= {k: file[k] for k in file.files if k.startswith(("stats_after/", "depthwise"))}
    return activations, weights


def projection(weight, bias):
    """A released 1x1x1 convolution as the kernel and bias of a Dense layer."""
    return {"kernel": weight.reshape(weight.shape[:2]).T, "bias": bias}


def norm(weights, prefix):
    return {ours: weights[f"{prefix}.{theirs}"] for theirs, ours in BATCH_NORM.items()}


def assign(layer, parts):
    """Set every weight of a built layer from {child, or "": {weight: array}}; none may be left over."""
    values = {f"{child}/{name}": value for child, names in parts.items() for name, value in names.items()}
    values = {path.removeprefix("/"): value for path, value in values.items()}
    paths = {w.path.split("/", 1)[1]: w for w in layer.weights}
    assert paths.keys() == values.keys()
    for path, variable in paths.items():
        variable.assign(values[path])


def check_block(layer, name, activations):
    """Compare both modes and the input's gradient with the released ones at the stored tolerances."""
    tolerances = TOLERANCES["blocks"][name]
    x, cotangent = (activations[key].astype("float32") for key in ("x", "ct"))
    (dx,) = backends.gradients(lambda x: ops.sum(ops.multiply(layer(x, training=False), cotangent)), x)
    found = {"y_eval": layer(x, training=False), "dx": dx, "y_train": layer(x, training=True)}
    for key, value in found.items():
        error = np.abs(ops.convert_to_numpy(value) - activations[key]).max()
        assert error <= tolerances[key]["suggested_atol_float32"], (key, error)


def check_running_statistics(layer, weights, prefix, positions, norm=None):
    """After one training step; torch averages the unbiased batch variance, Keras the biased one."""
    norm = norm or layer.norm
    mean = weights[f"stats_after/{prefix}.running_mean"]
    np.testing.assert_allclose(norm.moving_mean.numpy(), mean, atol=2e-6)
    old, new = weights[f"{prefix}.running_var"], weights[f"stats_after/{prefix}.running_var"]
    biased = 0.9 * old + (new - 0.9 * old) * (positions - 1) / positions
    np.testing.assert_allclose(norm.moving_variance.numpy(), biased, rtol=2e-5)


def load_model(name):
    """Return (description, stored numbers, weights by released key, channels-last clips)."""
    description = json.loads((FIXTURES / f"{name}.json").read_text())
    weights = {row["key"]: _by_rule(row, description["seed"]) for row in description["keys"]}
    generator = np.random.Generator(np.random.PCG64(description["seed"]))
    frames = generator.standard_normal(description["input"]["shape"]).astype("float32")
    with np.load(FIXTURES / f"{name}.npz") as file:
        stored = dict(file)
    return description, stored, weights, np.moveaxis(frames, 1, -1)[None]


def _by_rule(row, seed):
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(row["key"].encode()) + seed))
    z = generator.standard_normal(row["shape"])
    value = np.exp(row["std"] * z) if row["kind"] == "exp_normal" else row["mean"] + row["std"] * z
    return value.astype("float32")


def tsm_name(key):
    """The variable path of a released TSM key."""
    key = key.removeprefix("base_model.").replace(".net.", ".")
    key = re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"res{int(m[1]) + 1}_{m[2]}_", key)
    key = key.replace("downsample.0", "shortcut_conv").replace("downsample.1", "shortcut_norm")
    key = re.sub(r"^(conv|bn)1\.", lambda m: f"stem_{m[1]}.", key)
    layer, weight = re.sub(r"bn(\d?)", r"norm\1", key).rsplit(".", 1)
    if "norm" in layer:
        return f"{layer}/{BATCH_NORM[weight]}"
    if "conv" in layer:
        return f"{layer}/conv/kernel"
    return f"fc/{'kernel' if weight == 'weight' else 'bias'}"


def to_keras(value):
    """PyTorch's O, I, H, W or O, I to Keras's H, W, I, O or I, O."""
    return value.transpose((2, 3, 1, 0)) if value.ndim == 4 else value.T
