"""Reads the numbers of the released code under tests/fixtures (PyTorch layouts) as channels-last arrays."""

import functools
import json
import re
import zlib
from pathlib import Path

import backends
import keras
import numpy as np
from keras import ops

from keras_nonlocal.checkpoints import load

FIXTURES = Path(__file__).parent / "fixtures"
TOLERANCES = json.loads((FIXTURES / "tolerances.json").read_text())
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def load_block(name):
    """Returns (activations channels last, weights by their released key)."""
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
    """Compares both modes and the input's gradient with the released ones at the stored tolerances."""
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


@functools.lru_cache(maxsize=1)
def load_model(name):
    """Returns (description, stored numbers, weights by released key, channels-last input)."""
    description = json.loads((FIXTURES / f"{name}.json").read_text())
    weights = {row["key"]: _by_rule(row, description["seed"]) for row in description["keys"]}
    generator = np.random.Generator(np.random.PCG64(description["seed"]))
    x = generator.standard_normal(description["input"]["shape"]).astype("float32")
    with np.load(FIXTURES / f"{name}.npz") as file:
        stored = dict(file)
    x = np.moveaxis(x, 1, -1)
    samples_are_frames = description["input"]["layout"].startswith("[N*T")
    return description, stored, weights, x[None] if samples_are_frames else x


def check_model(model, name, format, ends=None):
    """Loads a released model's weights and compares its maps, in forward order, its features and logits.

    ends: stage of the description -> our layer, where `stage_end` does not say; None for what is no layer.
    """
    _, stored, weights, _ = load_model(name)
    squares = [np.sum(w.astype("float64") ** 2) for w in weights.values()]
    np.testing.assert_allclose(squares, stored["weights_check"], rtol=1e-6)
    load(model, weights, format)
    check_outputs(model, name, ends)


def check_outputs(model, name, ends=None):
    """Compares a model that has a released model's weights with what that gave."""
    description, stored, _, x = load_model(name)
    ends = {stage: (ends or {}).get(stage, stage_end(model, stage)) for stage in description["stages"]}
    stages = [stage for stage, end in ends.items() if end is not None]
    outputs = [model.get_layer(ends[stage]).output for stage in stages]
    outputs += [model.get_layer("pool").output, model.output]
    *maps, features, logits = map(np.asarray, keras.Model(model.input, outputs)(x))
    for stage, y in zip(stages, maps, strict=True):
        expected = description["stages"][stage]
        y = y[0] if len(expected["shape"]) < y.ndim else y  # a clip whose frames are samples there
        y = np.moveaxis(y, -1, 1)
        assert list(y.shape) == expected["shape"], stage
        atol = 2e-5 * np.abs(y).max()
        first = y.reshape(*y.shape[:2], -1)[0, :16, 0]
        for found, key in (
            (y.ravel()[:16], "first16"),
            (first, "chan16"),
            (y.mean(), "mean"),
            (y.std(), "std"),
        ):
            np.testing.assert_allclose(found, expected[key], rtol=0, atol=atol, err_msg=f"{stage}, {key}")
    tolerances = TOLERANCES["models"][name.removeprefix("model_")]
    for key, found in (("features_mean", features), ("logits", logits)):
        error = np.abs(found - stored[key]).max()
        assert error <= tolerances[key]["suggested_atol_float32"], (key, error)


def stage_end(model, stage):
    """Our layer at the end of a released stage, residual block or attention block; None for no such name."""
    stage = stage.split(" ")[0]
    if stage in ("maxpool", "s1"):
        return "stem_pool"
    if stage in ("temp_pool", "pathway0_pool"):
        return "res2_pool"
    if found := re.fullmatch(r"(?:layer|s)(\d)", stage):
        prefix = f"res{int(found[1]) + stage.startswith('layer')}_"
        ends = [
            layer.name for layer in model.layers if re.fullmatch(prefix + r"\d+_(relu|block)", layer.name)
        ]
        return ends[-1]
    if found := re.fullmatch(
        r"(layer|s)(\d)\.(pathway0_res|pathway0_nonlocal|nl|)(\d+)(\.block|\.nl)?", stage
    ):
        kind, number, what, index, part = found.groups()
        end = "block" if what.endswith(("nonlocal", "nl")) or part == ".nl" else "relu"
        return f"res{int(number) + (kind == 'layer')}_{index}_{end}"
    return None


def _by_rule(row, seed):
    if row["kind"] == "rnl_mask":
        rows, columns = row["shape"][:2]
        mask = np.zeros(row["shape"], "float32")
        mask[np.arange(rows), np.arange(rows) % columns] = 1
        return mask
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(row["key"].encode()) + seed))
    z = generator.standard_normal(row["shape"])
    value = np.exp(row["std"] * z) if row["kind"] == "exp_normal" else row["mean"] + row["std"] * z
    return value.astype("float32")
