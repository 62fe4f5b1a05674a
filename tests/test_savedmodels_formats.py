"""Formats besides the SavedModel: ONNX, where any of T, H and W are known; LiteRT; kernels of int8."""

import itertools
from functools import partial

import keras
import numpy as np
import onnxruntime
import oracles
import pytest
import tensorflow as tf
from layer_table import ROWS, frame_wise

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    DepthwiseConv3D,
    GlobalContext,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    TemporalShift,
    VideoResNet,
    architecture,
)


def check_numbers(model, shape, tmp_path):
    """Compares a model with its ONNX file on inputs of two sizes, the second with larger unknown sides."""
    larger = [known or side + 2 for known, side in zip(model.input.shape[1:], shape, strict=True)]
    generator = np.random.default_rng(0)
    shapes = ((2, *shape), (3, *larger))
    inputs = [generator.standard_normal(shape).astype("float32") for shape in shapes]
    expected = [np.asarray(model(x)) for x in inputs]  # Keras exports to ONNX what has been called.
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for x, y in zip(inputs, expected, strict=True):
        (z,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(z, y, atol=2e-5 * max(1, np.abs(y).max()))


def partly_known(shape, mix):
    """Returns the shape without the sides that "u" stands for in a mix such as "kuu"; channels are known."""
    return (*(side if letter == "k" else None for side, letter in zip(shape, mix, strict=False)), shape[-1])


# As they are made, with the arguments that no default fits on a small clip, and what once failed.
LAYERS = {
    "NonLocal": NonLocal,
    "NonLocal in windows": partial(NonLocal, window_frames=2),
    "NonLocal in one window": partial(NonLocal, window_frames=4),
    "NonLocal with pooled frames": partial(NonLocal, subsample=(2, 2, 2)),
    "RegionNonLocal": partial(RegionNonLocal, kernel_size=3, subsample=(1, 2, 2)),
    "RegionNonLocal by cosine": partial(
        RegionNonLocal, kernel_size=3, subsample=(1, 2, 2), pairwise="cosine"
    ),
    "CompactGeneralizedNonLocal": partial(CompactGeneralizedNonLocal, groups=2),
    "BilinearAttentionTransform": partial(BilinearAttentionTransform, size=2),
    "BilinearAttentionTransform downsampling": partial(
        BilinearAttentionTransform, transform="downsampling", size=2
    ),
    "SqueezeExcite": partial(SqueezeExcite, ratio=2),
    "GlobalContext": partial(GlobalContext, ratio=2),
    "ConvBlockAttention": partial(ConvBlockAttention, ratio=2, kernel_size=3),
    "AttentionChain": AttentionChain,
    "DepthwiseConv3D": partial(DepthwiseConv3D, 3),
    "TemporalShift": TemporalShift,
    "FrameWise": frame_wise,
}


def long_but_for(quick, names):
    """Returns the names as parameters of a test, all marked as long but those that once failed."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.long) for name in names]


ONCE_REFUSED = (
    "NonLocal with pooled frames",
    "RegionNonLocal by cosine",
    "BilinearAttentionTransform downsampling",
)


@pytest.mark.parametrize("name", long_but_for(ONCE_REFUSED, LAYERS))
def test_a_fresh_layer_on_clips_of_a_known_length(name, tmp_path):
    inputs = keras.Input((4, None, None, 8))
    check_numbers(keras.Model(inputs, LAYERS[name]()(inputs)), (4, 4, 6, 8), tmp_path)


def all_mixes():
    """Yields the first row of each layer and rank in each mix, fresh or trained in turn; the others once.

    Where the number of frames is known and the sides of a frame are not, both are tried.
    """
    seen = set()
    for name, row in ROWS.items():
        rank = len(row.shape)
        risky = "kuu"[5 - rank :]
        yield name, risky, "fresh"
        if (row.layer, rank) not in seen:
            yield name, risky, "trained"
            for mix in map("".join, itertools.product("ku", repeat=rank - 2)):
                if mix != risky:
                    yield name, mix, "trained" if mix.count("u") % 2 else "fresh"
        seen.add((row.layer, rank))


@pytest.mark.long
@pytest.mark.parametrize(("name", "mix", "state"), list(all_mixes()))
def test_every_layer_in_every_mix(name, mix, state, tmp_path):
    row = ROWS[name]
    layer = row.layer(**row.arguments)
    inputs = keras.Input(partly_known(row.shape[1:], mix))
    model = keras.Model(inputs, layer(inputs))
    if state == "trained":
        oracles.randomise(layer, row.shape)
    check_numbers(model, row.shape[1:], tmp_path)


# Every topology and temporal kind; bottlenecks, whose first two convolutions fold the same map, and groups.
NETWORKS = {
    "tsm": {"depth": 18},
    "tsm keras": {"depth": 50, "topology": "keras"},
    "c2d slowfast": {"depth": 18, "temporal": "c2d", "topology": "slowfast"},
    "c2d fair_8": {"depth": 50, "temporal": "c2d"},
    "c2d fair_32": {"depth": 18, "temporal": "c2d", "topology": "fair_32"},
    "i3d_3x1x1 fair_8": {"depth": 50, "temporal": "i3d_3x1x1"},
    "i3d_3x3x3 fair_32_1x1": {"depth": 18, "temporal": "i3d_3x3x3", "topology": "fair_32_1x1"},
    "i3d_3x1x1_alternate nl_table_1": {
        "depth": 50,
        "temporal": "i3d_3x1x1_alternate",
        "topology": "nl_table_1",
    },
    "resnext": {"depth": 50, "groups": 2, "group_width": 32, "squeeze_excite_ratio": 4},
}


@pytest.fixture
def narrow_stages(monkeypatch):
    monkeypatch.setattr(architecture, "STAGE_WIDTHS", (8, 16, 32, 64))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "mix"), [*((name, "kuu") for name in NETWORKS), ("tsm", "ukk"), ("i3d_3x3x3 fair_32_1x1", "uku")]
)
def test_every_topology_up_to_res3(name, mix, narrow_stages, tmp_path):
    shape = (8, 33, 40, 3)
    arguments = {"input_shape": partly_known(shape, mix), "blocks": {"res2": (0,)}, "make_block": NonLocal}
    network = VideoResNet(include_top=False, **NETWORKS[name], **arguments)
    model = keras.Model(network.input, network.get_layer("res3_0_relu").output)
    check_numbers(model, shape, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("state", ["fresh", "trained"])
def test_the_network_of_a_run(state, narrow_stages, tmp_path):
    shape = (8, 32, 40, 3)
    arguments = {"blocks": {"res3": (0,), "res4": (1,)}, "make_block": NonLocal, "num_classes": 3}
    model = VideoResNet(18, input_shape=partly_known(shape, "kuu"), **arguments)
    if state == "trained":
        train_a_little(model)
    check_numbers(model, shape, tmp_path)


def train_a_little(model):
    """Moves every weight off its start, by so little that the numbers of many layers stay finite."""
    generator = np.random.default_rng(0)
    for variable in model.weights:
        if "float" in variable.dtype:
            variable.assign_add(0.1 * generator.random(tuple(variable.shape)))


@pytest.mark.parametrize("name", long_but_for(ONCE_REFUSED, LAYERS))
def test_litert_where_all_sides_are_known(name, tmp_path):
    inputs = keras.Input((4, 4, 6, 8))
    model = keras.Model(inputs, LAYERS[name]()(inputs))
    train_a_little(model)
    model.export(str(tmp_path / "model.tflite"), format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 6, 8)).astype("float32")
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(y, model(x), atol=1e-5)


CONCATENATION = {
    "NonLocal by concatenation": partial(NonLocal, pairwise="concatenation"),
    "NonLocal by concatenation, all keys": partial(NonLocal, pairwise="concatenation", subsample=None),
}
# They compute with a child's kernel and do not call the child.
KERNEL_READERS = (*CONCATENATION, "GlobalContext")


@pytest.mark.parametrize("name", long_but_for(KERNEL_READERS, LAYERS | CONCATENATION))
def test_kernels_of_int8_give_nearly_the_same_numbers(name):
    inputs = keras.Input((4, 4, 6, 8))
    layer = (LAYERS | CONCATENATION)[name]()
    model = keras.Model(inputs, layer(inputs))
    oracles.randomise(layer, (2, 4, 4, 6, 8))
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 6, 8)).astype("float32")
    expected = np.asarray(model(x))
    model.quantize("int8")
    difference = np.linalg.norm(np.asarray(model(x)) - expected)
    added = expected - x if expected.shape == x.shape else expected
    assert difference <= 0.05 * np.linalg.norm(added)


@pytest.mark.long
def test_onnx_of_kernels_of_int8(tmp_path):
    inputs = keras.Input((4, None, None, 8))
    layer = NonLocal()
    model = keras.Model(inputs, layer(inputs))
    oracles.randomise(layer, (2, 4, 4, 6, 8))
    model.quantize("int8")
    check_numbers(model, (4, 4, 6, 8), tmp_path)
