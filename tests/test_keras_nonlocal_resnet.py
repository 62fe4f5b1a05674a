"""VideoResNet: the released TSM network to the digit, the tables' parameters, names and refusals."""

import math

import keras
import numpy as np
import pytest
import released

from keras_nonlocal import NonLocal, RegionNonLocal, TemporalShift, VideoResNet, resnet
from keras_nonlocal.frame_wise import FrameWise

FIVE = {"res3": (0, 2), "res4": (0, 2, 4)}


def trainable(model):
    return sum(math.prod(w.shape) for w in model.trainable_weights)


def test_released_bottleneck_with_shift():
    name = "block_tsm_bottleneck_s8_stride2"
    activations, w = released.load_block(name)
    activations = {key: frames[None] for key, frames in activations.items()}  # [N*T, ...] -> [1, T, ...]
    clip = keras.Input(activations["x"].shape[1:])
    block = resnet._residual_block(clip, 8, stride=2, bottleneck=True, shift_divisor=8, name="res3_0")
    model = keras.Model(clip, block)
    values = {
        released.tsm_name(f"layer2.0.{key}"): released.to_keras(value)
        for key, value in w.items()
        if not key.startswith("stats_after")
    }
    assert values.keys() == {v.path for v in model.weights}
    for variable in model.weights:
        variable.assign(values[variable.path])
    released.check_block(model, name, activations)


def test_released_tsm_network():
    description, stored, weights, clips = released.load_model("model_tsm_r50")
    squares = [np.sum(w.astype("float64") ** 2) for w in weights.values()]
    np.testing.assert_allclose(squares, stored["weights_check"], rtol=1e-6)
    model = VideoResNet(50, input_shape=(8, 64, 64, 3))
    values = {released.tsm_name(key): released.to_keras(value) for key, value in weights.items()}
    assert values.keys() == {w.path for w in model.weights}
    for variable in model.weights:
        variable.assign(values[variable.path])

    ends = {"maxpool": "stem_pool", "layer1": "res2_2_relu", "layer2": "res3_3_relu", "layer3": "res4_5_relu"}
    outputs = [model.get_layer(name).output for name in ends.values()]
    *stages, features, logits = keras.Model(
        model.input, [*outputs, model.get_layer("pool").output, model.output]
    )(clips)
    for stage, y in zip(ends, stages, strict=True):
        expected = np.array(description["stages"][stage]["chan16"])
        np.testing.assert_allclose(np.asarray(y)[0, 0, 0, 0, :16], expected, atol=2e-4, err_msg=stage)
    tolerances = released.TOLERANCES["models"]["tsm_r50"]
    for name, found in (("features_mean", features), ("logits", logits)):
        error = np.abs(np.asarray(found) - stored[name]).max()
        assert error <= tolerances[name]["suggested_atol_float32"], (name, error)


@pytest.mark.parametrize(
    ("blocks", "make_block", "parameters"),
    [(None, None, 24_327_632), (FIVE, NonLocal, 31_686_096), (FIVE, RegionNonLocal, 28_313_040)],
    ids=["none", "NonLocal", "RegionNonLocal"],
)
def test_parameters_of_the_tables(blocks, make_block, parameters):
    assert trainable(VideoResNet(50, blocks=blocks, make_block=make_block)) == parameters


def test_parameters_of_the_basic_depths():
    # torchvision's ResNet-18 and -34 without their 1000-class heads, plus ours.
    assert trainable(VideoResNet(18, num_classes=10)) == 11_689_512 - 513_000 + 5_130
    assert trainable(VideoResNet(34, num_classes=10)) == 21_797_672 - 513_000 + 5_130


@pytest.mark.parametrize(("depth", "per_stage"), [(50, [3, 4, 6, 3]), (101, [2, 2, 12, 2])])
def test_which_residual_blocks_shift(depth, per_stage):
    model = VideoResNet(depth, input_shape=(8, 32, 32, 3))
    shifts = [layer.name for layer in model.layers if isinstance(layer, TemporalShift)]
    assert [sum(name.startswith(f"res{s}_") for name in shifts) for s in (2, 3, 4, 5)] == per_stage
    assert "res4_0_shift" in shifts


def test_frames_are_independent_without_a_temporal_kind():
    model = VideoResNet(18, temporal=None, input_shape=(None, 32, 32, 3), num_classes=4)
    clip = np.random.default_rng(0).standard_normal((1, 3, 32, 32, 3)).astype("float32")
    frames = [np.asarray(model(clip[:, t : t + 1])) for t in range(3)]
    np.testing.assert_allclose(model(clip), np.mean(frames, axis=0), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_normalisation_sees_all_frames_as_one_batch_when_training(training):
    layer = FrameWise(keras.layers.BatchNormalization(momentum=0.0, name="norm"))
    clips = np.random.default_rng(0).standard_normal((2, 3, 4, 4, 5)).astype("float32") + 3
    layer(clips, training=training)
    expected = clips.mean(axis=(0, 1, 2, 3)) if training else np.zeros(5)
    np.testing.assert_allclose(layer.layer.moving_mean.numpy(), expected, atol=1e-5)


def test_blocks_stand_after_their_residual_block():
    model = VideoResNet(
        18, blocks={"res3": (1,)}, make_block=RegionNonLocal, input_shape=(4, 32, 32, 3), num_classes=4
    )
    names = [layer.name for layer in model.layers]
    assert names.index("res3_1_relu") < names.index("res3_1_block") < names.index("res4_0_shift")
    assert model.get_layer("res3_1_block").input is model.get_layer("res3_1_relu").output


def test_reload_and_any_clip_size(tmp_path):
    model = VideoResNet(
        18, blocks={"res3": (0,)}, make_block=NonLocal, input_shape=(None, None, None, 3), num_classes=4
    )
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for shape in ((1, 2, 32, 48, 3), (2, 3, 40, 32, 3)):
        clips = np.random.default_rng(1).standard_normal(shape).astype("float32")
        np.testing.assert_array_equal(reloaded(clips), model(clips))


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = VideoResNet(18, input_shape=(2, 32, 32, 3), num_classes=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("res5_1_relu").output.dtype == "bfloat16"
    logits = model(np.ones((1, 2, 32, 32, 3), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32" and np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 20}, r"`depth`.*\(18, 34, 50, 101, 152\).*Received 20.*Try 50"),
        ({"temporal": "lstm"}, "`temporal`.*Received 'lstm'.*Try 'tsm'"),
        ({"input_shape": (224, 224, 3)}, r"`input_shape`.*Received \(224, 224, 3\).*Try"),
        ({"input_shape": (8, 224, 224, None)}, "known number of channels.*Try"),
        ({"blocks": {"res3": (0,)}}, "`blocks` and `make_block` together.*make_block=None.*Try"),
        ({"make_block": NonLocal}, "`blocks` and `make_block` together.*blocks=None.*Try"),
        ({"blocks": {"layer3": (0,)}, "make_block": NonLocal}, "stages.*Received 'layer3'.*Try 'res3'"),
        ({"blocks": {"res3": (4,)}, "make_block": NonLocal}, r"res3 from 0 to 3.*Received \[4\].*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"VideoResNet: Expected .*{words}"):
        VideoResNet(**arguments)
