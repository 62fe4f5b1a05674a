"""What stands beside weights is held against the flags of the run: what no shape of theirs tells."""

import dataclasses
import json

import numpy as np
import pytest

from train.config import Config
from train.network import NetworkError, build_network, network_fields
from train.origin import origin

FIELDS = {"depth": 18, "blocks": ("res3_0",), "block": ("NonLocal",), "clip_frames": 4}


def converted(folder, model, config, num_classes=3, images=False, **described):
    """Writes weights and what train.convert writes beside them; returns the path of the weights."""
    path = folder / "x.weights.h5"
    model.save_weights(path)
    flags = network_fields(config) | {"num_classes": num_classes, "images": images}
    (folder / "x.weights.json").write_text(json.dumps({"format": "tsm", "model_flags": flags} | described))
    return str(path)


def of_a_run(folder, model, config):
    """Writes what a run leaves; returns its directory."""
    model.save(folder / "model.keras")
    run = dataclasses.replace(config, data_dir="data", workdir=str(folder))
    (folder / "run.flags").write_text(run.to_flags())
    return str(folder)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The paths of the same weights as train.convert and as a run leave them, and their network."""
    config = Config(**FIELDS)
    model = build_network(config, 3)
    folder = tmp_path_factory.mktemp("start")
    return converted(folder, model, config), of_a_run(folder, model, config), model


def test_flags_that_say_the_same_in_other_words(start):
    same = {
        "topology": "torchvision",
        "block": ("res3_0=NonLocal(scaled=False)",),
        "clip_frames": 8,
        "dropout": 0.1,
        "frozen_batch_norm": True,
    }
    for path in (*start[:2], f"{start[1]}/model.keras"):
        model = build_network(Config(**FIELDS | same, weights=path), 3)
        for one, two in zip(model.weights, start[2].weights, strict=True):
            np.testing.assert_array_equal(one, two)


# case: (fields that differ, what is given as the remedy).
OTHER = {
    "topology": ({"topology": "fair_32"}, "--topology=torchvision"),
    "strides": ({"topology": "keras"}, "--topology=torchvision"),
    "temporal kind": ({"temporal": "c2d", "topology": "torchvision"}, "--temporal=tsm"),
    "both": ({"temporal": "c2d"}, "--temporal=tsm --topology=torchvision"),
    "placement": ({"blocks": ("res3_1",)}, "--blocks=res3_0 --block=NonLocal"),
    "arguments": ({"block": ("NonLocal(scaled=True)",)}, "--blocks=res3_0 --block=NonLocal"),
    "kind": ({"block": ("RegionNonLocal",)}, "--blocks=res3_0 --block=NonLocal"),
    "none": ({"blocks": ()}, "--blocks=res3_0 --block=NonLocal"),
    "depth": ({"depth": 34}, "--depth=18"),
    "SE": ({"squeeze_excite_ratio": 16}, "--squeeze_excite_ratio=0"),
}


@pytest.mark.parametrize("case", OTHER)
def test_flags_of_another_network_are_refused_with_those_to_give(case, start):
    values, remedy = OTHER[case]
    for path, beside in zip(
        (*start[:2], f"{start[1]}/model.keras"), ("x.weights.json", "run.flags", "run.flags"), strict=True
    ):
        with pytest.raises(
            NetworkError, match=rf"Expected --.*{beside} says of --weights=.* Received --.* Try: "
        ) as caught:
            build_network(Config(**FIELDS | values, weights=path), 3)
        assert str(caught.value).endswith(f"Try: {remedy}")


def test_a_run_of_other_preprocessing_is_refused(start):
    with pytest.raises(NetworkError, match=r"Received --std=1.0,1.0,1.0\. Try: --std=58.395,57.12,57.375$"):
        build_network(Config(**FIELDS, std=(1.0, 1.0, 1.0), weights=start[1]), 3)


def test_other_classes_are_refused(start):
    for path in start[:2]:
        with pytest.raises(NetworkError, match=r"(3 classes|fc/kernel).*--weights|--weights.*fc/kernel"):
            build_network(Config(**FIELDS, weights=path), 5)


def test_weights_of_keras_applications_take_their_means_in_rgb(tmp_path):
    config = Config(**FIELDS)
    model = build_network(config, 3)
    path = converted(tmp_path, model, config, format="keras_applications", reverse_channels=False)
    with pytest.raises(NetworkError, match=r"Expected --weights that take RGB.*BGR.*--reverse_channels"):
        build_network(dataclasses.replace(config, weights=path), 3)
    path = converted(tmp_path, model, config, format="keras_applications", reverse_channels=True)
    with pytest.raises(NetworkError, match=r"Try: --mean=123.68,116.779,103.939 --std=1.0,1.0,1.0$"):
        build_network(dataclasses.replace(config, weights=path), 3)
    build_network(
        dataclasses.replace(config, weights=path, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0)), 3
    )


def test_weights_for_images_have_no_temporal_kind(tmp_path):
    config = Config(**FIELDS, temporal="i3d_3x3x3")
    path = converted(tmp_path, build_network(config, 3, images=True), config, images=True)
    for temporal in ("tsm", "c2d"):
        build_network(Config(**FIELDS, temporal=temporal, weights=path), 3)
    with pytest.raises(NetworkError, match=r"--topology=torchvision$"):
        build_network(Config(**FIELDS, topology="keras", weights=path), 3)


def test_files_beside_weights_that_say_nothing_or_cannot_be_read(start, tmp_path):
    path = tmp_path / "x.weights.h5"
    start[2].save_weights(path)
    assert origin(str(path)) is None and origin(f"{tmp_path}/other.keras") is None
    build_network(Config(**FIELDS, weights=str(path)), 3)
    beside = tmp_path / "x.weights.json"
    for text, words in (
        ("{", "Expected what python -m train.convert writes beside weights"),
        ("[" * 100_000, "Expected what python -m train.convert writes"),
        ("[]", "Expected what python -m train.convert writes"),
        ('{"model_flags": {"depth": 19}}', "Expected --depth to be one of"),
        ('{"model_flags": {"block": 3}}', "--weights="),
    ):
        beside.write_text(text)
        with pytest.raises(NetworkError, match=words):
            build_network(Config(**FIELDS, weights=str(path)), 3)


def test_without_a_file_beside_the_names_are_those_of_the_weights(start, tmp_path):
    path = tmp_path / "x.weights.h5"
    start[2].save_weights(path)
    with pytest.raises(NetworkError, match=r"Expected `weights` \(--weights\) that .*lacks res3_1_block/"):
        build_network(Config(**FIELDS | {"blocks": ("res3_1",)}, weights=str(path)), 3)
