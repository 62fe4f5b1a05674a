"""What stands beside weights is held against the flags of the run: what no shape of theirs tells."""

import dataclasses
import json
import re
import types

import numpy as np
import pytest

from keras_nonlocal import VideoResNet
from keras_nonlocal.moves import MOVES
from keras_nonlocal.presets import save_to_preset
from train.config import Config
from train.network import NetworkError, _serialised, build_network, check_network, network_fields
from train.origin import check_origin, origin

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
    model.get_layer("res5_1_norm2").gamma.assign(np.full(512, 2.0))
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


def test_other_classes_are_refused_unless_they_are_named(start, capsys):
    for path in start[:2]:
        with pytest.raises(
            NetworkError, match=r"(3 classes|fc/kernel).*--weights|--weights.*fc/kernel"
        ) as caught:
            build_network(Config(**FIELDS, weights=path), 5)
        assert re.search(r"Try: --adapt=\"?classes", str(caught.value))
        model = build_network(Config(**FIELDS, weights=path, adapt=("classes",)), 5)
        assert model.output_shape == (None, 5)
        np.testing.assert_array_equal(model.get_layer("res5_1_norm2").gamma, 2)
        line = f"--weights={path}: 112 variables loaded, 2 kept at their start, 2 tensors dropped"
        assert capsys.readouterr().out.splitlines()[-1] == line


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
    for temporal in ("tsm", "c2d", "i3d_3x3x3"):
        same = {**FIELDS, "temporal": temporal, "weights": path}
        build_network(Config(**same, adapt=("images",)), 3)
        with pytest.raises(
            NetworkError, match=r"Expected a network for images, .*one for clips.*--adapt=images$"
        ):
            build_network(Config(**same), 3)
    with pytest.raises(NetworkError, match=r"--topology=torchvision$"):
        build_network(Config(**FIELDS, topology="keras", weights=path, adapt=("images",)), 3)


def test_a_run_on_images_starts_one_on_clips_with_other_pixels(tmp_path, capsys):
    bat = "BilinearAttentionTransform(size=2, temporal_groups={}, normalization='{}')"
    images = {"temporal": "c2d", "topology": "torchvision", "clip_frames": 1, "window_frames": 1}
    images |= {"blocks": ("res3_1",), "block": (bat.format(0, "sigmoid"),), "data_dir": "x", "workdir": "y"}
    of_images = Config(**FIELDS | images)
    build_network(of_images, 3).save(tmp_path / "model.keras")
    (tmp_path / "run.flags").write_text(of_images.to_flags())
    start = {"weights": str(tmp_path), "blocks": ("res3_1",)}
    build_network(Config(**FIELDS | images | start), 3)
    assert "130 variables loaded, 0 kept" in capsys.readouterr().out
    clips = FIELDS | start | {"clip_frames": 8, "temporal": "i3d_3x3x3", "topology": "fair_8"}
    clips |= {"block": (bat.format(4, "softmax"),), "mean": (104.0, 117.0, 124.0), "std": (1.0, 1.0, 1.0)}
    with pytest.raises(NetworkError, match=r"Received --mean=104.0.*Try: --mean=123.675"):
        build_network(Config(**clips, adapt=("images", "bat")), 3)
    with pytest.raises(NetworkError, match=r"a network for images.*--adapt=images,bat,pixels$"):
        build_network(Config(**clips, adapt=("bat", "pixels")), 3)
    build_network(Config(**clips, adapt=("images", "bat", "pixels")), 3)
    assert "130 variables loaded (6 inflated), 2 kept" in capsys.readouterr().out


BAT = "BilinearAttentionTransform"
# case: (fields of the weights, images, fields and classes of the run, the moves that lead there, told).
MOVED = {
    "blocks": (
        {"blocks": ("res3_0",)}, False, {"blocks": ("res3_0", "res4_1")}, 3, "blocks",
        r"Expected --blocks=res3_0 --block=NonLocal, .*Received --blocks=res3_0,res4_1 --block=NonLocal\.",
    ),
    "all at once": (
        {"blocks": ()}, True, {"temporal": "i3d_3x3x3"}, 5, "classes,blocks,images",
        "Expected --blocks= .* 3 classes a network for images, .* 5 classes one for clips",
    ),
    "BAT": (
        {"block": (f"{BAT}(temporal_groups=0)",)}, False, {"block": (f"{BAT}(normalization='softmax')",)},
        3, "bat", f"Expected .*'--block={BAT}\\(temporal_groups=0\\)'",
    ),
    "image BAT": (
        {"block": (BAT,)}, True, {"block": (f"{BAT}(normalization='softmax', matrix_size='fitted')",)},
        3, "images,bat", "a network for images",
    ),
    "frames": (
        {"block": (BAT,)}, False, {"block": (f"{BAT}(temporal_size=8)",)}, 3, "frames", "temporal_size=8",
    ),
    "windows": (
        {"block": ("NonLocal",)}, False, {"block": ("NonLocal(window_frames=4)",)}, 3, "frames", "window_",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVED)
def test_what_stands_beside_weights_allows_what_is_named_alone(case, tmp_path):
    there, images, here, classes, moves, words = MOVED[case]
    fields = FIELDS | {"clip_frames": 8}
    made = Config(**fields | there)
    nothing = types.SimpleNamespace(save_weights=lambda path: path.write_text(""))
    path = converted(tmp_path, nothing, made, images=images)
    run = Config(**fields | here, weights=path)
    with pytest.raises(NetworkError, match=words) as caught:
        check_origin(run, classes, False, _serialised)
    assert str(caught.value).endswith(f"Try: --adapt={moves}")
    for move in moves.split(","):
        others = tuple(name for name in MOVES if name != move)
        with pytest.raises(NetworkError, match=r"Try: --adapt=classes,blocks,images,bat,frames$"):
            check_origin(dataclasses.replace(run, adapt=others), classes, False, _serialised)
    check_origin(dataclasses.replace(run, adapt=tuple(moves.split(","))), classes, False, _serialised)
    for values in (
        {"mean": (1.0, 2.0, 3.0)},
        {"depth": 34},
        {"squeeze_excite_ratio": 8},
        {"topology": "keras"},
    ):
        if "mean" in values:
            path = converted(tmp_path, nothing, made, images=images, mean=made.mean, std=made.std)
        other = dataclasses.replace(run, **values, weights=path, adapt=tuple(MOVES))
        with pytest.raises(NetworkError, match=f"Try: --{next(iter(values))}=[^ ]*$"):
            check_origin(other, classes, False, _serialised)


def test_moves_without_weights_and_frozen_norms_without_any(caplog):
    with pytest.raises(
        NetworkError, match=r"Expected --weights beside --adapt.*Received --adapt=classes alone.*Try"
    ):
        check_network(Config(**FIELDS, adapt=("classes",)))
    check_network(Config(**FIELDS, frozen_batch_norm=True))
    assert "--frozen_batch_norm keeps" in caplog.text
    caplog.clear()
    check_network(Config(**FIELDS, frozen_batch_norm=True, weights="x"))
    check_network(Config(**FIELDS))
    assert caplog.text == ""


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


def test_a_preset_says_what_its_weights_are(start, tmp_path):
    folder = str(tmp_path / "preset")
    colours = {"mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)}
    save_to_preset(folder, start[2], preprocessing=colours)
    build_network(Config(**FIELDS, **colours, weights=folder), 3)
    for values, remedy in (
        ({}, "--mean=1.0,2.0,3.0 --std=4.0,5.0,6.0"),
        (colours | {"topology": "keras"}, "--topology=torchvision"),
    ):
        with pytest.raises(NetworkError, match=rf"config.json says of --weights=.*Try: {remedy}$"):
            build_network(Config(**FIELDS | values, weights=folder), 3)
    scaled = Config(**FIELDS | colours | {"block": ("NonLocal(scaled=True)",)}, weights=folder)
    with pytest.raises(
        NetworkError, match=r"Try: --blocks=res3_0 '--block=res3_0=NonLocal\(pairwise=.*scaled=False"
    ):
        build_network(scaled, 3)
    with pytest.raises(NetworkError, match=r"3 classes.*Received 5 classes. Try: --adapt=classes$"):
        build_network(Config(**FIELDS, **colours, weights=folder), 5)
    (tmp_path / "preset/README.md").write_text("changed")
    with pytest.raises(NetworkError, match=r"--weights=.*README.md with other bytes than checksums"):
        build_network(Config(**FIELDS, **colours, weights=folder), 3)


def test_a_preset_that_shifts_otherwise_is_no_start(tmp_path):
    model = VideoResNet(18, num_classes=3, shift_divisor=4, input_shape=(4, None, None, 3))
    save_to_preset(tmp_path / "preset", model)
    with pytest.raises(NetworkError, match=r"Received one that shifts 1 / 4\. Try: VideoResNet.from_preset"):
        build_network(Config(depth=18, blocks=(), weights=str(tmp_path / "preset")), 3)
