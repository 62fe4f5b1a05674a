"""VideoResNet and ImageResNet: the tables' parameters, topologies, names and refusals."""

import functools
import math
import time

import keras
import numpy as np
import pytest
import released

from keras_nonlocal import (
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    TemporalShift,
    VideoResNet,
    feature_pyramid,
)
from keras_nonlocal.architecture import (
    DEPTHS,
    IMAGES,
    TOPOLOGIES,
    Convolution,
    TemporalKind,
    Topology,
    stage_maps,
)
from keras_nonlocal.checkpoints import load
from keras_nonlocal.described import without_memory
from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.grouped_conv2d import GroupedConv2D, groups_together
from keras_nonlocal.residual import residual_block

FIVE = {"res3": (0, 2), "res4": (0, 2, 4)}


def trainable(model):
    return sum(math.prod(w.shape) for w in model.trainable_weights)


def test_released_bottleneck_with_shift():
    name = "block_tsm_bottleneck_s8_stride2"
    activations, w = released.load_block(name)
    activations = {key: frames[None] for key, frames in activations.items()}  # [N*T, ...] -> [1, T, ...]
    clip = keras.Input(activations["x"].shape[1:])
    convolutions = [Convolution(8, 1), Convolution(8, 3, stride=2), Convolution(32, 1)]
    block = residual_block(clip, convolutions, 8, None, frozen=False, name="res3_0")
    model = keras.Model(clip, block)
    weights = {f"base_model.layer2.0.{key}": value for key, value in w.items() if "stats_after" not in key}
    load(model, weights, "tsm")
    released.check_block(model, name, activations)


@pytest.mark.parametrize(
    ("blocks", "make_block", "parameters"),
    [(None, None, 24_327_632), (FIVE, NonLocal, 31_686_096), (FIVE, RegionNonLocal, 28_313_040)],
    ids=["none", "NonLocal", "RegionNonLocal"],
)
def test_parameters_of_the_tables(blocks, make_block, parameters):
    assert trainable(VideoResNet(50, blocks=blocks, make_block=make_block)) == parameters


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({"depth": 18}, 11_689_512),
        pytest.param({"depth": 34}, 21_797_672, marks=pytest.mark.long),
        ({"depth": 50}, 25_557_032),
        pytest.param({"depth": 101}, 44_549_160, marks=pytest.mark.long),
        pytest.param({"depth": 152}, 60_192_808, marks=pytest.mark.long),
        ({"depth": 50, "groups": 32, "group_width": 4}, 25_028_904),
        ({"depth": 50, "squeeze_excite_ratio": 16}, 28_088_024),
    ],
    ids=["18", "34", "50", "101", "152", "resnext50_32x4d", "se_resnet50"],
)
def test_parameters_are_those_of_torchvision(arguments, parameters):
    assert trainable(ImageResNet(**arguments)) == parameters


@pytest.mark.parametrize(
    ("temporal", "parameters"),
    [("c2d", 24_327_632), ("i3d_3x1x1", 28_043_472), ("i3d_3x3x3", 33_433_808)],
)
def test_parameters_of_the_temporal_kinds(temporal, parameters):
    assert trainable(VideoResNet(50, temporal)) == parameters


@pytest.mark.parametrize(("depth", "per_stage"), [(50, [3, 4, 6, 3]), (101, [2, 2, 12, 2])])
def test_which_residual_blocks_shift(depth, per_stage):
    model = VideoResNet(depth, input_shape=(8, 32, 32, 3))
    shifts = [layer.name for layer in model.layers if isinstance(layer, TemporalShift)]
    assert [sum(name.startswith(f"res{s}_") for name in shifts) for s in (2, 3, 4, 5)] == per_stage
    assert "res4_0_shift" in shifts


def test_frames_of_a_c2d_are_independent_up_to_its_temporal_pools():
    model = small(temporal="c2d", topology="torchvision", input_shape=(None, 32, 32, 3))
    clip = clips(1, 3, 32, 32, 3)
    frames = [np.asarray(model(clip[:, t : t + 1])) for t in range(3)]
    np.testing.assert_allclose(model(clip), np.mean(frames, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stem", "res2", "res5"),
    [
        ("torchvision", (32, 112, 112), (32, 56, 56), (32, 7, 7)),
        pytest.param("slowfast", (32, 112, 112), (32, 56, 56), (16, 7, 7), marks=pytest.mark.long),
        ("fair_8", (32, 112, 112), (32, 55, 55), (16, 7, 7)),
        pytest.param("fair_32", (16, 112, 112), (8, 55, 55), (4, 7, 7), marks=pytest.mark.long),
        pytest.param("fair_32_1x1", (16, 112, 112), (8, 55, 55), (4, 7, 7), marks=pytest.mark.long),
        pytest.param("nl_table_1", (16, 112, 112), (8, 56, 56), (4, 7, 7), marks=pytest.mark.long),
    ],
)
def test_maps_of_the_topologies(name, stem, res2, res5):
    for temporal in ("c2d", "i3d_3x1x1"):
        model = VideoResNet(50, temporal, topology=name, input_shape=(32, 224, 224, 3))
        ends = {"stem_conv": stem, "res2_2_relu": res2, "res5_2_relu": res5}
        assert {end: model.get_layer(end).output.shape[1:-1] for end in ends} == ends


def test_stage_maps_are_those_of_the_built_networks():
    for depth, name, sides in (
        (18, "slowfast", (9, 61, 90)),
        (50, "fair_32", (19, 70, 47)),
        (18, "nl_table_1", (9, 61, 90)),
        (18, "nl_table_1", (1, 32, 32)),
    ):
        model = VideoResNet(depth, "c2d", topology=name, input_shape=(*sides, 3), include_top=False)
        built = {stage: y.shape[1:] for stage, y in feature_pyramid(model).output.items()}
        assert built == stage_maps(DEPTHS[depth], TOPOLOGIES[name], *sides)


@pytest.mark.parametrize(("frames", "joined"), [(8, 4), (7, 4), (1, 1)])
def test_poolings_of_table_1_see_three_frames_each(frames, joined):
    """Table 1 of the NL paper: pool1 3x3x3, and pool2 3x1x1, where FAIR's code joins pairs of frames."""
    model = small(temporal="c2d", topology="nl_table_1", input_shape=(2 * frames, 32, 32, 3))
    clip = clips(1, 2 * frames, 32, 32, 3)
    seen = {}
    for name, pooled in (("stem_relu", "stem_pool"), ("res2_1_relu", "res2_pool")):
        outputs = [model.get_layer(end).output for end in (name, pooled)]
        seen[pooled] = [np.asarray(y) for y in keras.Model(model.input, outputs)(clip)]
    before, after = seen["stem_pool"]
    assert before.shape[1:3] == (frames, 16) and after.shape[1:4] == (joined, 8, 8)
    for t, i, j in np.ndindex(joined, 8, 8):
        window = before[0, max(2 * t - 1, 0) : 2 * t + 2, max(2 * i - 1, 0) : 2 * i + 2]
        window = window[:, :, max(2 * j - 1, 0) : 2 * j + 2]
        np.testing.assert_allclose(after[0, t, i, j], window.max(axis=(0, 1, 2)), rtol=1e-6)
    before, after = seen["res2_pool"]
    for t in range(after.shape[1]):
        window = before[0, max(2 * t - 1, 0) : 2 * t + 2]
        np.testing.assert_allclose(after[0, t], window.max(axis=0), rtol=1e-6)
    assert after.shape[1] == -(-joined // 2)


@pytest.mark.parametrize(("name", "strided"), [("torchvision", 2), ("keras", 1)])
def test_which_convolution_of_a_bottleneck_is_strided(name, strided):
    model = ImageResNet(50, topology=name, input_shape=(64, 64, 3))
    strides = [model.get_layer(f"res3_0_conv{number}").layer.strides for number in (1, 2, 3)]
    assert [number for number in (1, 2, 3) if strides[number - 1] == (2, 2)] == [strided]


@pytest.mark.parametrize(
    ("temporal", "inflated", "kernel"), [("i3d_3x1x1", "conv1", (3, 1, 1)), ("i3d_3x3x3", "conv2", (3, 3, 3))]
)
def test_which_residual_blocks_of_an_i3d_span_time(temporal, inflated, kernel):
    model = VideoResNet(50, temporal, input_shape=(8, 64, 64, 3))
    spans = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv3D)]
    places = [
        f"res{s}_{i}"
        for s, numbers in ((2, (0, 1, 2)), (3, (0, 2)), (4, (0, 2, 4)), (5, (1,)))
        for i in numbers
    ]
    assert [layer.name for layer in spans] == ["stem_conv", *(f"{place}_{inflated}" for place in places)]
    with without_memory():
        alternate = VideoResNet(50, f"{temporal}_alternate", input_shape=(8, 64, 64, 3))
    fewer = [layer.name for layer in alternate.layers if isinstance(layer, keras.layers.Conv3D)]
    assert fewer == [layer.name for layer in spans if layer.name != f"res2_1_{inflated}"]
    assert {layer.kernel_size for layer in spans[1:]} == {kernel} and spans[0].kernel_size == (5, 7, 7)


def test_strides_are_padded_on_both_sides_in_time_as_well():
    """A clip played backwards gives the stem's map backwards, for an odd number of frames."""
    model = VideoResNet(18, "i3d_3x3x3", topology="fair_32", input_shape=(9, 32, 32, 3))
    stem = keras.Model(model.input, model.get_layer("stem_conv").output)
    kernel = model.get_layer("stem_conv").kernel
    kernel.assign(np.asarray(kernel) + np.asarray(kernel)[::-1])
    clip = clips(1, 9, 32, 32, 3)
    np.testing.assert_allclose(stem(clip[:, ::-1]), np.asarray(stem(clip))[:, ::-1], atol=1e-4)


def small(make=VideoResNet, depth=18, **arguments):
    """A small network with running statistics that are not at their start."""
    arguments = {
        "input_shape": (4, 32, 32, 3)[-4 if make is VideoResNet else -3 :],
        "num_classes": 4,
    } | arguments
    model, generator = make(depth, **arguments), np.random.default_rng(1)
    for variable in model.weights:
        if variable.path.split("/")[-1].startswith("moving"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


def clips(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    "arguments", [{}, {"depth": 50, "groups": 32, "group_width": 4}, {"squeeze_excite_ratio": 16}]
)
def test_a_c2d_is_the_image_network_frame_by_frame(arguments):
    image = small(ImageResNet, input_shape=(48, 32, 3), **arguments)
    video = small(temporal="c2d", topology="torchvision", input_shape=(3, 48, 32, 3), **arguments)
    assert [w.path for w in video.weights] == [w.path for w in image.weights]
    video.set_weights(image.get_weights())
    clip = clips(2, 3, 48, 32, 3)
    frames = np.mean([np.asarray(image(clip[:, t])) for t in range(3)], axis=0)
    np.testing.assert_allclose(video(clip), frames, atol=2e-5)


@pytest.mark.parametrize(
    "make_block",
    [
        NonLocal,
        CompactGeneralizedNonLocal,
        functools.partial(BilinearAttentionTransform, temporal_groups=0),
        functools.partial(BilinearAttentionTransform, temporal_groups=0, normalization="softmax"),
    ],
    ids=["NonLocal", "CompactGeneralizedNonLocal", "BilinearAttentionTransform", "its softmax"],
)
def test_a_c2d_of_one_frame_is_the_image_network_with_its_blocks(make_block):
    arguments = {"blocks": {"res3": (0,)}, "make_block": make_block}
    image = small(ImageResNet, input_shape=(56, 112, 3), **arguments)
    video = small(temporal="c2d", topology="torchvision", input_shape=(1, 56, 112, 3), **arguments)
    assert [(w.path, math.prod(w.shape)) for w in video.weights] == [
        (w.path, math.prod(w.shape)) for w in image.weights
    ]
    generator = np.random.default_rng(2)
    for one, other in zip(image.weights, video.weights, strict=True):
        # Blocks begin as identities, by a norm whose gamma is 0.
        if "block" in one.path:
            one.assign(np.abs(np.asarray(one)) + generator.uniform(0, 0.1, one.shape))
        other.assign(np.reshape(np.asarray(one), other.shape))
    images = clips(2, 56, 112, 3)
    before = np.asarray(image(images))
    np.testing.assert_allclose(video(images[:, None]), before, atol=1e-4 * np.abs(before).max())


@pytest.mark.parametrize(
    ("groups", "channels", "together"),
    [
        (32, 4, 8),
        (32, 8, 4),
        (32, 16, 2),
        (32, 32, 1),
        (32, 64, 1),
        (6, 8, 6),
        (12, 7, 6),
        (4, 4, 4),
        (9, 4, 9),
    ],
)
def test_as_few_groups_as_make_32_channels_share_a_kernel(groups, channels, together):
    assert groups_together(groups, channels) == together
    assert groups % together == 0


def test_grouped_convolutions_are_those_of_keras():
    layer = GroupedConv2D(48, 3, groups=8, padding="same", strides=2)
    images = clips(2, 6, 7, 24)
    y = np.asarray(layer(images))
    kernel, x = np.asarray(layer.kernel), np.pad(images, ((0, 0), (0, 1), (1, 1), (0, 0)))
    for group in range(8):
        part, filters = x[..., 3 * group : 3 * group + 3], kernel[..., 6 * group : 6 * group + 6]
        for i, j in np.ndindex(y.shape[1:3]):
            window = part[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected = np.einsum("bijc,ijcf->bf", window, filters)
            np.testing.assert_allclose(y[:, i, j, 6 * group : 6 * group + 6], expected, atol=1e-5)


def test_squeeze_excite_stands_at_the_end_of_every_branch():
    model = small(ImageResNet, squeeze_excite_ratio=4)
    gates = [layer for layer in model.layers if layer.name.endswith("_se")]
    assert len(gates) == 8 and all(isinstance(gate.layer, SqueezeExcite) for gate in gates)
    assert all(gate.layer.ratio == 4 and gate.layer.mode == "multiply" for gate in gates)
    assert model.get_layer("res3_0_add").input[0] is model.get_layer("res3_0_se").output


@pytest.mark.parametrize(("pooling", "reduce"), [(None, None), ("avg", np.mean), ("max", np.max)])
def test_networks_without_top(pooling, reduce):
    model = small(include_top=False, pooling=pooling)
    clip = clips(2, 4, 32, 32, 3)
    y = np.asarray(model(clip))
    assert not [layer for layer in model.layers if layer.name in ("dropout", "fc")]
    if reduce is None:
        assert y.shape == (2, 4, 1, 1, 512)
    else:
        last = keras.Model(model.input, model.get_layer("res5_1_relu").output)(clip)
        np.testing.assert_allclose(y, reduce(np.asarray(last), axis=(1, 2, 3)), atol=1e-5)


def test_feature_pyramid_gives_the_last_map_of_every_stage():
    model = small(temporal="c2d", blocks={"res3": (1,)}, make_block=NonLocal)
    pyramid = feature_pyramid(model)
    clip = clips(1, 4, 32, 32, 3)
    maps = pyramid(clip)
    assert {stage: y.shape[1:] for stage, y in maps.items()} == {
        "res2": (4, 7, 7, 64),
        "res3": (2, 4, 4, 128),
        "res4": (2, 2, 2, 256),
        "res5": (2, 1, 1, 512),
    }
    for stage, end in (("res3", "res3_1_block"), ("res5", "res5_1_relu")):
        np.testing.assert_array_equal(
            maps[stage], keras.Model(model.input, model.get_layer(end).output)(clip)
        )
    with pytest.raises(ValueError, match=r"Expected a network of VideoResNet or ImageResNet.*Try"):
        feature_pyramid(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))


def test_frozen_batch_norm_keeps_to_its_statistics_and_does_not_train(tmp_path):
    model = small(frozen_batch_norm=True, dropout=0.0)
    clip = clips(2, 4, 32, 32, 3)
    np.testing.assert_allclose(model(clip, training=True), model(clip), atol=1e-6)
    assert not [w.path for w in model.trainable_weights if "norm" in w.path]
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded(clip, training=True), model(clip), atol=1e-6)
    thawed = small(dropout=0.0)
    assert np.abs(np.asarray(thawed(clip, training=True)) - np.asarray(thawed(clip))).max() > 1e-3


def test_weights_file(tmp_path):
    path = str(tmp_path / "small.weights.h5")
    model = small()
    model.save_weights(path)
    reloaded = VideoResNet(18, input_shape=(4, 32, 32, 3), num_classes=4, weights=path)
    np.testing.assert_array_equal(reloaded(clips(1, 4, 32, 32, 3)), model(clips(1, 4, 32, 32, 3)))
    (tmp_path / "text.weights.h5").write_text("text")
    for other, file in (
        ({"num_classes": 5}, path),
        ({"temporal": "i3d_3x3x3"}, path),
        ({}, tmp_path / "text.weights.h5"),
    ):
        arguments = {"input_shape": (4, 32, 32, 3), "num_classes": 4} | other
        with pytest.raises(ValueError, match=r"VideoResNet: Expected `weights` that .*Received '.*Try: "):
            VideoResNet(18, weights=str(file), **arguments)
    with pytest.raises(ValueError, match=r"`weights`.*absent\.weights\.h5', which is no file. Try"):
        VideoResNet(18, weights=str(tmp_path / "absent.weights.h5"))


def test_classifier():
    with_softmax = small(classifier_activation="softmax")
    np.testing.assert_allclose(np.sum(np.asarray(with_softmax(clips(2, 4, 32, 32, 3))), axis=1), 1, atol=1e-6)
    for temporal, deviation in (("tsm", 0.001), ("c2d", 0.01)):
        kernel = np.asarray(VideoResNet(18, temporal).get_layer("fc").kernel)
        assert abs(kernel.std() / deviation - 1) < 0.02
    assert not np.asarray(small(classifier_initializer="zeros").get_layer("fc").kernel).any()


def test_different_blocks_at_different_places():
    wide, narrow = (functools.partial(RegionNonLocal, kernel_size=(3, side, side)) for side in (7, 3))
    model = small(blocks={"res3": {0: wide}, "res4": {0: narrow, 1: NonLocal}})
    assert model.get_layer("res3_0_block").kernel_size == (3, 7, 7)
    assert model.get_layer("res4_0_block").kernel_size == (3, 3, 3)
    assert isinstance(model.get_layer("res4_1_block"), NonLocal)


def test_blocks_by_the_name_of_their_placement():
    model = VideoResNet(50, blocks="tsm_nl5", make_block=NonLocal, input_shape=(2, 32, 32, 3))
    blocks = [layer.name for layer in model.layers if isinstance(layer, NonLocal)]
    assert blocks == [f"{place}_block" for place in ("res3_0", "res3_2", "res4_0", "res4_2", "res4_4")]


def test_a_topology_of_ones_own():
    model = small(temporal="c2d", topology=Topology(pool2_frames=4), include_top=False)
    assert model.output_shape == (None, 1, 1, 1, 512)


def test_a_temporal_kind_of_ones_own():
    kind = TemporalKind(3, inflated=3, shifts=True, topology="slowfast", classifier_deviation=0.1)
    model = small(temporal=kind, input_shape=(4, 32, 32, 3))
    assert model.get_layer("stem_conv").kernel_size == (3, 7, 7) and model.get_layer("res2_0_shift")
    assert model.get_layer("res2_0_conv1").kernel_size == (3, 3, 3) and model.get_layer("res2_pool")
    assert abs(np.asarray(model.get_layer("fc").kernel).std() / 0.1 - 1) < 0.1


def test_the_image_network_is_a_call_of_the_video_network():
    """Whatever argument the one takes, the other takes too."""
    image = small(ImageResNet, pooling="max", include_top=False, name="mine")
    same = VideoResNet(18, IMAGES, input_shape=(32, 32, 3), pooling="max", include_top=False)
    assert image.name == "mine" and same.name == "image_resnet18"
    assert [w.path for w in image.weights] == [w.path for w in same.weights]
    with pytest.raises(TypeError, match="groupz"):
        ImageResNet(18, groupz=2)
    with pytest.raises(TypeError, match="temporal"):
        ImageResNet(18, temporal="tsm")


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


def test_a_network_is_built_in_seconds():
    start = time.monotonic()
    VideoResNet(50, blocks="nl5", make_block=NonLocal)  # 8 frames of 224x224
    assert time.monotonic() - start < 5


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
        ({"depth": 20}, r"`depth`.*\(18, 34, 50, 101, 152\).*Received 20.*Try: 50"),
        (
            {"temporal": "c2d", "input_shape": (1, 64, 64, 3)},
            "at least 2 frames.*Try: topology='torch",
        ),
        ({"temporal": "c2d", "topology": "fair_32", "input_shape": (6, 64, 64, 3)}, "at least 7 frames.*Try"),
        ({"topology": "fair"}, "`topology`.*'fair_8'.*Received 'fair'.*Try"),
        ({"pooling": "mean"}, "`pooling`.*Received 'mean'"),
        ({"depth": 18, "groups": 32, "group_width": 4}, "groups=1.*Received groups=32.*Try: depth=50"),
        ({"depth": 18, "temporal": "i3d_3x1x1"}, "bottlenecks.*Try: temporal='i3d_3x3x3'"),
        ({"temporal": "lstm"}, "`temporal`.*Received 'lstm'.*Try: 'tsm'"),
        ({"input_shape": (224, 224, 3)}, r"`input_shape`.*Received \(224, 224, 3\).*Try"),
        ({"input_shape": (8, 224, 224, None)}, "known number of channels.*Try"),
        ({"blocks": {"res3": (0,)}}, "`blocks` and `make_block` together.*make_block=None.*Try"),
        ({"make_block": NonLocal}, "`blocks` and `make_block` together.*blocks=None.*Try"),
        ({"blocks": {"layer3": (0,)}, "make_block": NonLocal}, "stages.*Received 'layer3'.*Try: 'res3'"),
        ({"blocks": {"res3": (4,)}, "make_block": NonLocal}, r"res3 from 0 to 3.*Received \[4\].*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"VideoResNet: Expected .*{words}"):
        VideoResNet(**arguments)


def test_images_have_no_frames_to_join():
    with pytest.raises(ValueError, match=r"ImageResNet: Expected a topology without strides in time.*Try"):
        ImageResNet(18, topology="fair_8")
    with pytest.raises(ValueError, match=r"ImageResNet: Expected `input_shape` \(H, W, channels\).*Try"):
        ImageResNet(18, input_shape=(8, 224, 224, 3))
