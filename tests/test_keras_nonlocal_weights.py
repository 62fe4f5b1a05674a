"""Weights of another network are refused by name before one is set, and those of the same are taken."""

import functools
import os
import re
import zipfile

import keras
import numpy as np
import pytest

from keras_nonlocal import (
    AttentionChain,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
)
from keras_nonlocal.architecture import Topology
from keras_nonlocal.weights import load_weights

small = functools.partial(VideoResNet, 18, input_shape=(4, 32, 32, 3), num_classes=4, dropout=0.5)
REGION = {"blocks": {"res4": (0,)}, "make_block": RegionNonLocal}


def with_blocks(make=RegionNonLocal, **places):
    return {"blocks": places, "make_block": make}


def saved(model, path):
    """Saves a model by the ending of a path; returns the path as text."""
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    return str(path)


def randomised(model):
    """Gives all weights values that no start has; returns the model."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.standard_normal(variable.shape) + 1)
    return model


def differing(one, two):
    return [
        w.path
        for w, v in zip(one.weights, two.weights, strict=True)
        if (np.asarray(w) != np.asarray(v)).any()
    ]


ENDINGS = ["weights.h5", pytest.param("keras", marks=pytest.mark.long)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_network_takes_all_weights(ending, tmp_path):
    def chain(name):
        return AttentionChain(region=NonLocal(), channel=GlobalContext(norm="batch"), name=name)

    blocks = {"blocks": {"res3": {0: chain}, "res4": {0: RegionNonLocal, 1: RegionNonLocal}}}
    model = randomised(small(squeeze_excite_ratio=4, **blocks))
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse", metrics=["mse"])
    model.optimizer.build(model.trainable_variables)
    path = saved(model, tmp_path / f"x.{ending}")
    # What is no weight may differ, and a path may be no text.
    again = VideoResNet(
        18, input_shape=(8, None, None, 3), num_classes=4, dropout=0.1, squeeze_excite_ratio=4,
        frozen_batch_norm=True, classifier_activation="softmax", weights=tmp_path / f"x.{ending}", **blocks,
    )  # fmt: skip
    assert path and differing(model, again) == []


def test_the_directory_of_a_run(tmp_path):
    model = randomised(small(**REGION))
    saved(model, tmp_path / "model.keras")
    assert differing(model, small(weights=str(tmp_path), **REGION)) == []
    with pytest.raises(ValueError, match=r"lacks res4_0_block.*Try: the arguments"):
        small(weights=str(tmp_path), **with_blocks(NonLocal, res4=(0,)))


ELSEWHERE = {"blocks": {"res4": (1,)}, "make_block": RegionNonLocal}
BOTH = {"blocks": {"res4": (0, 1)}, "make_block": RegionNonLocal}
SE, NL = with_blocks(SqueezeExcite, res4=(0,)), with_blocks(NonLocal, res4=(0,))
NARROW = with_blocks(functools.partial(RegionNonLocal, kernel_size=3), res4=(0,))
C2D = {"temporal": "c2d", "topology": "torchvision"}
I3D = {"temporal": "i3d_3x3x3", "topology": "torchvision"}
SLOWFAST, FAIR_8 = {"topology": "slowfast"}, {"topology": "fair_8"}
BEYOND = "has, beyond the network's, "
# case: (arguments of the file, arguments of the network, words).
OTHER = {
    "elsewhere": (
        REGION,
        ELSEWHERE,
        f"lacks res4_1_block/region/kernel, .* and 6 more; {BEYOND}res4_0_block/",
    ),
    "too many": (BOTH, REGION, f"which {BEYOND}res4_1_block/"),
    "the second of two": (BOTH, ELSEWHERE, f"which {BEYOND}res4_0_block/"),
    "too few": (REGION, BOTH, "which lacks res4_1_block/"),
    "none there": ({}, REGION, "which lacks res4_0_block/"),
    "none here": (REGION, {}, f"which {BEYOND}res4_0_block/"),
    "another kind": (SE, NL, f"lacks res4_0_block/.*; {BEYOND}res4_0_block/"),
    "another temporal kind": (C2D, {}, r"lacks res2_0_shift, .*and 5 more\."),
    "the other temporal kind": ({}, C2D, f"{BEYOND}res2_0_shift"),
    "another topology": (SLOWFAST, {}, rf"which {BEYOND}res2_pool\."),
    "another padding": (SLOWFAST, FAIR_8, rf"which {BEYOND}stem_pool_pad\."),
    "an inflated kernel": (I3D, {}, "lacks stem_conv/conv/kernel"),
    "another depth": ({}, {"depth": 34}, "lacks res2_2_conv1/conv/kernel"),
    "other classes": (
        {"num_classes": 5},
        {},
        r"shape of fc/kernel \(\(512, 5\) there, \(512, 4\) here\), fc/bias",
    ),
    "no top": ({"include_top": False}, {}, "which lacks fc/kernel, fc/bias"),
    "another kernel": (REGION, NARROW, "another shape of res4_0_block/region/kernel"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("case", OTHER)
def test_another_network_is_refused_by_name(case, ending, tmp_path):
    there, here, words = OTHER[case]
    path = saved(small(**there), tmp_path / f"x.{ending}")
    with pytest.raises(
        ValueError,
        match=rf"Expected `weights` that .*Received '.*{words}.*Try: .*the arguments that it was saved",
    ) as caught:
        VideoResNet(**{"depth": 18, "input_shape": (4, 32, 32, 3), "num_classes": 4, "weights": path} | here)
    assert len(str(caught.value)) < 1000 and "vars" not in str(caught.value)


SCALED = with_blocks(functools.partial(NonLocal, scaled=True), res4=(0,))
ARGUMENTS = {
    "scaled": (NL, SCALED, r"res4_0_block/scaled \(False there, True here\)"),
    "shift_divisor": ({}, {"shift_divisor": 4}, r"res2_0_shift/divisor \(8 there, 4 here\), .*and 5 more"),
    "topology": (FAIR_8, {"topology": "keras"}, "res2_pool|stem_pool_pad"),
    "strides": ({"depth": 50}, {"depth": 50, "topology": "keras"}, "has, beyond .* res3_0_conv2_pad"),
    "strides in time": (
        {"temporal": "i3d_3x3x3"},
        {"temporal": "i3d_3x3x3", "topology": "fair_32"},
        r"which has another kind of stem_pool\.",
    ),
    "strides of the stem": (
        {"temporal": "i3d_3x3x3", "topology": Topology(1, 2)},
        {"temporal": "i3d_3x3x3", "topology": Topology(2, 2)},
        r"stem_conv/strides \(\[1, 2, 2\] there, \[2, 2, 2\] here\)\.",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_keras_file_tells_arguments_that_no_shape_tells(case, tmp_path):
    there, here, words = ARGUMENTS[case]
    arguments = {"depth": 18, "input_shape": (8, 32, 32, 3), "num_classes": 4}
    path = saved(VideoResNet(**arguments | there), tmp_path / "x.keras")
    with pytest.raises(ValueError, match=words):
        VideoResNet(weights=path, **arguments | here)


@pytest.mark.parametrize("ending", ENDINGS)
def test_weights_for_images_fit_kernels_of_one_frame(ending, tmp_path):
    image = randomised(ImageResNet(18, input_shape=(32, 32, 3), num_classes=4))
    path = saved(image, tmp_path / f"x.{ending}")
    for arguments in ({}, {"temporal": "c2d"}):
        assert differing(image, small(weights=path, adapt="images", **arguments)) == []
        with pytest.raises(ValueError, match=r'is of a network for images\. Try: adapt="images"'):
            small(weights=path, **arguments)
    path = saved(ImageResNet(50, input_shape=(32, 32, 3), num_classes=4), tmp_path / f"deep.{ending}")
    deep = functools.partial(VideoResNet, 50, input_shape=(4, 32, 32, 3), num_classes=4, adapt="images")
    for temporal in ("c2d", "i3d_3x1x1"):
        with pytest.raises(ValueError, match="res3_0_conv2_pad"):
            deep(temporal, topology="keras", weights=path)
    again = ImageResNet(18, input_shape=(32, 32, 3), num_classes=4, weights=tmp_path / f"x.{ending}")
    assert differing(image, again) == []


def test_a_file_without_names_is_held_against_classes_counts_and_shapes(tmp_path, monkeypatch):
    store = keras.src.saving.saving_lib.H5IOStore
    make = store.make
    with monkeypatch.context() as patch:
        patch.setattr(store, "make", lambda self, path, metadata=None: make(self, path, {"old": "1"}))
        model = randomised(small(**REGION))
        path = saved(model, tmp_path / "x.weights.h5")
    assert differing(model, small(weights=path, **REGION)) == []
    for other, words in (
        ({}, "has, beyond the network's, region_non_local/"),
        (with_blocks(res4=(0, 1)), "lacks res4_1_block/"),
        (REGION | {"temporal": "c2d", "topology": "torchvision"}, "temporal_shift"),
    ):
        with pytest.raises(ValueError, match=words):
            small(weights=path, **other)


def test_layers_of_a_class_in_another_order_are_refused(tmp_path):
    inputs = keras.Input((4, 4, 4, 8))
    parts = [RegionNonLocal(name=f"res4_{index}_block") for index in (1, 0)]
    path = saved(keras.Model(inputs, parts[1](parts[0](inputs))), tmp_path / "x.weights.h5")
    model = keras.Model(inputs, parts[0](parts[1](inputs)))
    with pytest.raises(ValueError, match="has in another order res4_0_block/"):
        load_weights(model, path, "VideoResNet")


def test_nothing_is_set_unless_all_fits(tmp_path):
    path = saved(randomised(small(num_classes=5)), tmp_path / "x.weights.h5")
    model = small()
    before = model.get_weights()
    with pytest.raises(ValueError, match="another shape of fc"):
        load_weights(model, path, "VideoResNet")
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "text.weights.h5").write_text("text")
    (tmp_path / "text.keras").write_text("text")
    (tmp_path / "other.h5").write_text("text")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.keras")
    with zipfile.ZipFile(tmp_path / "list.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    with zipfile.ZipFile(tmp_path / "none.keras", "w") as archive:
        archive.writestr("config.json", '{"config": {"layers": [1]}}')
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    for name, words in {
        "text.weights.h5": "which cannot be read",
        "text.keras": "which cannot be read",
        "list.keras": "which cannot be read",
        "none.keras": "which cannot be read",
        "dense.keras": "which lacks stem_conv/conv/kernel",
        "other.h5": "which is no such file",
        "empty": "which is no such file",
        "pipe.keras": "which is no such file",
        "absent.keras": "which is no file",
    }.items():
        with pytest.raises(
            ValueError, match=rf"(?s)^VideoResNet: Expected `weights` .*{re.escape(name)}', {words}.*Try:"
        ):
            small(weights=str(tmp_path / name))


def test_a_damaged_file_is_refused(tmp_path):
    path = saved(small(), tmp_path / "x.weights.h5")
    whole = (tmp_path / "x.weights.h5").read_bytes()
    (tmp_path / "x.weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"which cannot be read.*Try"):
        small(weights=path)
