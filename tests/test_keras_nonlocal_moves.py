"""Weights of another network: each named move gives the values that it promises, and none goes unnamed."""

import functools
import re

import keras
import numpy as np
import pytest

from keras_nonlocal import (
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    VideoResNet,
)
from keras_nonlocal.moves import MOVES, checked_moves, lasting, of_blocks
from keras_nonlocal.weights import load_weights

VIDEO = {"depth": 18, "temporal": "c2d", "topology": "torchvision", "input_shape": (4, 32, 32, 3)}
IMAGE = {"depth": 18, "input_shape": (32, 32, 3), "num_classes": 4}
PATTERN = r'Try: adapt="([a-z,]+)", or the arguments that it was saved with\.$'


def video(**arguments):
    return VideoResNet(**VIDEO | {"num_classes": 4} | arguments)


def image(**arguments):
    return ImageResNet(**IMAGE | arguments)


def bilinear(**arguments):
    """Returns the arguments of a network with a BAT that fits maps of 2x2."""
    arguments = {"spatial_groups": 2, "size": 2, "temporal_size": 2} | arguments
    make = functools.partial(BilinearAttentionTransform, **arguments)
    return {"blocks": {"res4": (0,)}, "make_block": make}


def trained(model):
    """Gives a model values as training does, none of which is that of a start; returns it."""
    rng = np.random.default_rng(len(model.weights))
    for variable in model.weights:
        if "seed" not in variable.path:
            start = np.asarray(variable)
            value = start + rng.uniform(0.1, 0.4, start.shape) * (1 if start.ndim == 1 else start.std())
            variable.assign(value)
    return model


def saved(model, folder, ending="weights.h5"):
    path = str(folder / f"x.{ending}")
    model.save(path) if ending == "keras" else model.save_weights(path)
    return path


def outputs(model, clips):
    return np.asarray(model(clips, training=False))


def by_path(model):
    return {v.path.replace("/conv/", "/"): np.asarray(v) for v in model.weights if "seed" not in v.path}


def clips_of(rng, frames=4):
    return rng.standard_normal((2, frames, 32, 32, 3)).astype("float32")


# move: (network of the weights, network that takes them, what is kept at its start).
REGIONS = {"blocks": {"res3": (0,), "res4": (1,)}, "make_block": RegionNonLocal}
PAIRS = {
    "classes": (lambda: video(num_classes=7), video, "fc/"),
    "blocks": (video, lambda: video(**REGIONS), "res3_0_block/|res4_1_block/"),
    "images": (image, lambda: video(temporal="i3d_3x3x3"), "-"),
    "bat": (
        lambda: video(**bilinear(temporal_groups=0)),
        lambda: video(**bilinear(temporal_groups=2, normalization="softmax", matrix_size="fitted")),
        "res4_0_block/t/",
    ),
    "frames": (
        lambda: video(**bilinear()),
        lambda: video(input_shape=(8, 32, 32, 3), **bilinear(temporal_size=4)),
        "res4_0_block/t/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["weights.h5", pytest.param("keras", marks=pytest.mark.long)])
@pytest.mark.parametrize("move", MOVES)
def test_a_move_sets_what_it_says_and_none_other_allows_it(move, ending, tmp_path):
    there, here, kept = PAIRS[move]
    source, target = trained(there()), here()
    path, start = saved(source, tmp_path, ending), by_path(target)
    others = [name for name in MOVES if name != move]
    with pytest.raises(ValueError, match=PATTERN) as caught:
        load_weights(target, path, "VideoResNet", others)
    assert re.search(PATTERN, str(caught.value))[1] == ",".join(MOVES)
    assert all((value == start[name]).all() for name, value in by_path(target).items())

    with pytest.raises(ValueError, match=PATTERN) as caught:
        load_weights(target, path, "VideoResNet")
    named = re.search(PATTERN, str(caught.value))[1]
    assert named == move
    report = load_weights(target, path, "VideoResNet", named)
    values, theirs = by_path(target), by_path(source)
    for name, value in values.items():
        if re.match(kept, name):
            np.testing.assert_array_equal(value, start[name])
        else:
            expected = theirs[name]
            if value.ndim > expected.ndim:
                expected = np.broadcast_to(expected / len(value), value.shape)
            np.testing.assert_array_equal(value, expected)
    told = [name.replace("/conv/", "/") for name in (*report.loaded, *report.kept)]
    assert sorted(told) == sorted(values)
    assert len(report.kept) == sum(bool(re.match(kept, name)) for name in values)
    inflated = {name for name in values if name in theirs and values[name].ndim > theirs[name].ndim}
    assert {*report.inflated} == inflated and len(inflated) == (6 if move == "images" else 0)
    assert len(report.loaded) + len(report.dropped) == len(theirs)


def test_an_image_network_sees_a_still_clip_as_its_image(tmp_path):
    """Away from the first and last frames, whose neighbours are zeros."""
    rng = np.random.default_rng(0)
    source = trained(image(include_top=False))
    path, picture = saved(source, tmp_path), rng.standard_normal((1, 32, 32, 3)).astype("float32")
    expected = outputs(source, picture)
    still = np.repeat(picture[:, None], 17, axis=1)
    for temporal, first in (("c2d", 0), ("i3d_3x3x3", 8), ("tsm", 8)):
        model = video(
            temporal=temporal, input_shape=(17, 32, 32, 3), include_top=False, weights=path, adapt="images"
        )
        found = outputs(model, still)[:, first : 17 - first]
        np.testing.assert_allclose(
            found, np.repeat(expected[:, None], found.shape[1], 1), rtol=2e-4, atol=2e-4
        )


def test_new_blocks_change_no_output_before_training(tmp_path):
    clips = clips_of(np.random.default_rng(1))
    source = trained(video())
    blocks = {"blocks": {"res3": {1: NonLocal}, "res4": {0: RegionNonLocal}}}
    model = video(weights=saved(source, tmp_path), adapt="blocks", **blocks)
    np.testing.assert_allclose(outputs(model, clips), outputs(source, clips), rtol=1e-4, atol=1e-4)


def test_blocks_beside_others_and_none_in_the_place_of_others(tmp_path):
    one = {"blocks": {"res4": {1: RegionNonLocal}}}
    source = trained(video(**one))
    path = saved(source, tmp_path)
    model = video(blocks={"res4": {0: RegionNonLocal, 1: RegionNonLocal}}, weights=path, adapt="blocks")
    kept = {name: value for name, value in by_path(source).items() if name.startswith("res4_1_block")}
    assert kept and all((by_path(model)[name] == value).all() for name, value in kept.items())
    for other in ({"blocks": {"res4": {0: RegionNonLocal}}}, {}, {"blocks": {"res4": {1: NonLocal}}}):
        with pytest.raises(ValueError, match=r"has, beyond the network's, .*Try: the arguments"):
            video(weights=path, adapt=tuple(MOVES), **other)


def test_image_bat_becomes_3d_bat_which_moves_no_frames_with_matrices_of_ones(tmp_path):
    """With T an identity, a still clip meets the image's P and Q."""
    rng = np.random.default_rng(2)
    source = trained(image(include_top=False, **bilinear()))
    path, picture = saved(source, tmp_path), rng.standard_normal((1, 32, 32, 3)).astype("float32")
    model = video(include_top=False, weights=path, adapt="images,bat", **bilinear(temporal_groups=2))
    with pytest.raises(ValueError, match=r'lacks res4_0_block/t/kernel.*Try: adapt="images,bat"'):
        video(include_top=False, weights=path, adapt="images", **bilinear(temporal_groups=2))
    maker = model.get_layer("res4_0_block").t
    maker.kernel.assign(np.zeros(maker.kernel.shape))
    maker.bias.assign(np.tile(100 * np.eye(2).ravel(), 2))
    found = outputs(model, np.repeat(picture[:, None], 4, axis=1))
    np.testing.assert_allclose(
        found, np.repeat(outputs(source, picture)[:, None], 4, 1), rtol=1e-4, atol=1e-4
    )


def test_what_is_no_change_of_weights_needs_no_name(tmp_path):
    windows = {"blocks": {"res4": {0: functools.partial(NonLocal, window_frames=2)}}}
    source = trained(video(**windows))
    path = saved(source, tmp_path, "keras")
    longer = video(input_shape=(16, None, None, 3), weights=path, **windows)
    assert all((by_path(longer)[name] == value).all() for name, value in by_path(source).items())
    whole = {"blocks": {"res4": {0: NonLocal}}}
    with pytest.raises(ValueError, match=r'res4_0_block/window_frames \(2 there.*Try: adapt="frames"'):
        video(weights=path, **whole)
    video(weights=path, adapt="frames", **whole)


@pytest.mark.parametrize("policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.long)])
def test_classes_blocks_and_images_at_once(policy, tmp_path):
    source = trained(image(squeeze_excite_ratio=4, num_classes=9))
    path = saved(source, tmp_path, "keras")
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        model = video(temporal="i3d_3x3x3", squeeze_excite_ratio=4, frozen_batch_norm=True, **REGIONS)
    finally:
        keras.config.set_dtype_policy(before)
    start = by_path(model)
    with pytest.raises(ValueError, match='Try: adapt="classes,blocks,images"'):
        load_weights(model, path)
    report = load_weights(model, path, adapt="images,blocks,classes")
    assert str(report) == (
        f"{len(report.loaded)} variables loaded (6 inflated), 20 kept at their start, 2 tensors dropped"
    )
    values, theirs = by_path(model), by_path(source)
    assert len(report.loaded) == len(theirs) - 2
    for name, value in values.items():
        expected = start[name] if re.match("fc/|.*_block/", name) else theirs[name]
        frames = len(value) if value.ndim > expected.ndim else 1
        np.testing.assert_array_equal(value, np.broadcast_to(expected / frames, value.shape))
    with pytest.raises(ValueError, match=r"beyond the network's, res._._se/"):
        video(temporal="i3d_3x3x3", weights=path, adapt=tuple(MOVES), **REGIONS)


@pytest.mark.long
def test_groups_are_no_move(tmp_path):
    source = image(depth=50, groups=32, group_width=4)
    path = saved(source, tmp_path)
    model = video(depth=50, temporal="i3d_3x1x1", groups=32, group_width=4, weights=path, adapt="images")
    assert model.get_layer("res2_0_conv1").kernel.shape[0] == 3
    with pytest.raises(ValueError, match="another shape of res2_0_conv1"):
        video(depth=50, weights=path, adapt=tuple(MOVES))


def test_a_head_is_new_by_name_even_of_as_many_classes(tmp_path):
    source = trained(video())
    model = video(weights=saved(source, tmp_path), adapt="classes")
    assert not (by_path(model)["fc/kernel"] == by_path(source)["fc/kernel"]).any()
    features = video(include_top=False, weights=saved(source, tmp_path), adapt="classes")
    assert len(features.weights) == len(source.weights) - 2
    path = saved(features, tmp_path)
    np.testing.assert_array_equal(
        by_path(video(weights=path, adapt="classes"))["stem_conv/kernel"], by_path(source)["stem_conv/kernel"]
    )


def test_what_is_not_finite_is_refused(tmp_path):
    source = trained(video())
    source.get_layer("res5_1_norm2").gamma.assign(np.full(512, np.nan))
    model = video()
    start = by_path(model)
    with pytest.raises(ValueError, match=r"cannot be read \(res5_1_norm2/gamma is not finite\)"):
        load_weights(model, saved(source, tmp_path))
    assert all((value == start[name]).all() for name, value in by_path(model).items())


def test_a_file_without_names_takes_no_blocks(tmp_path, monkeypatch):
    store = keras.src.saving.saving_lib.H5IOStore
    make = store.make
    with monkeypatch.context() as patch:
        patch.setattr(store, "make", lambda self, path, metadata=None: make(self, path, {"old": "1"}))
        path = saved(trained(video(blocks={"res4": {1: RegionNonLocal}})), tmp_path)
    with pytest.raises(ValueError, match=r"lacks res4_1_block/.*Try: the arguments"):
        video(blocks={"res4": {0: RegionNonLocal, 1: RegionNonLocal}}, weights=path, adapt=tuple(MOVES))


@pytest.mark.parametrize(
    ("block", "added"),
    [
        (BilinearAttentionTransform, {"context_channels": 1}),
        (CompactGeneralizedNonLocal, {"normalize": True}),
        (ConvBlockAttention, {"use_bias": False, "batch_norm": False}),
    ],
)
def test_a_file_that_is_older_than_an_argument_means_its_default(block, added):
    here = keras.saving.serialize_keras_object(block(name="block"))
    there = here | {"config": {name: value for name, value in here["config"].items() if name not in added}}
    assert of_blocks(lasting(here), lasting(there), of_images=False) == set()
    for name, value in added.items():
        other = here | {"config": here["config"] | {name: value}}
        assert of_blocks(lasting(other), lasting(there), of_images=False) is None


def test_names_of_moves():
    assert checked_moves((), "x") == checked_moves("", "x") == ()
    assert (
        checked_moves(["frames", "classes"], "x")
        == checked_moves("frames,classes", "x")
        == ("classes", "frames")
    )
    with pytest.raises(
        ValueError, match=r'VideoResNet: Expected names of `adapt` among .*\'head\'.*adapt="classes"'
    ):
        VideoResNet(18, input_shape=(4, 32, 32, 3), weights="none", adapt="head")
