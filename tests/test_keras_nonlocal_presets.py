"""Presets give the same network again, and nothing else: what is changed, missing or hostile is refused."""

import functools
import hashlib
import inspect
import json
import os
import shutil
import sys
import types

import keras
import numpy as np
import pytest

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    VideoResNet,
)
from keras_nonlocal.architecture import TemporalKind
from keras_nonlocal.described import _ARGUMENTS, BLOCKS, arguments_of, as_arguments, as_data, without_memory
from keras_nonlocal.presets import FILES, read_preset, save_to_preset

SAID = {
    "labels": ["turning", "growing", "shrinking"],
    "preprocessing": {"frames": 4, "size": 32, "mean": [1.0, 2.0, 3.0], "sampling": "segments", "fps": 0.0},
    "card": "# Shapes\n\nTop-1 99 %.\n",
}


def chain(name):
    region = RegionNonLocal(kernel_size=(1, 3, 3), pairwise="dot_product")
    return AttentionChain(region=region, channel=GlobalContext(norm="batch", name="gate"), name=name)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A network whose blocks are no identities, and its preset."""
    model = VideoResNet(
        18, "i3d_3x3x3", {"res3": {1: chain}, "res4": {0: NonLocal}}, num_classes=3,
        input_shape=(4, None, None, 3), topology="slowfast", squeeze_excite_ratio=8,
        frozen_batch_norm=True, name="shapes",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "gamma" in variable.path or "fc" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    folder = tmp_path_factory.mktemp("presets") / "shapes"
    VideoResNet.save_to_preset(folder, model, **SAID)
    return folder, model


def copied(folder, to):
    """Returns a copy of a preset, of links, so that a file is changed by writing a new one."""
    return shutil.copytree(folder, to / "copy", copy_function=os.link)


def put(path, data):
    path.unlink()
    path.write_bytes(data)


def signed(folder):
    """Writes the checksums that fit the files."""
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    put(folder / "checksums.json", json.dumps(sums).encode())


def test_a_preset_gives_the_same_outputs_and_what_was_said(shapes):
    folder, model = shapes
    again = VideoResNet.from_preset(folder)
    clips = np.random.default_rng(1).standard_normal((2, 4, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model(clips, training=False), again(clips, training=False))
    assert again.name == "shapes" and again.input_shape == (None, 4, None, None, 3)
    assert not again.get_layer("stem_norm").trainable and not again.get_layer("res2_0_norm1").trainable
    preset = read_preset(str(folder))
    assert (preset.labels, preset.preprocessing, preset.card) == tuple(SAID.values())
    assert sorted(os.listdir(folder)) == sorted([*FILES, "checksums.json"])
    assert not [name for name in os.listdir(folder.parent) if "partial" in name]


def test_arguments_in_the_place_of_the_presets(shapes):
    folder, model = shapes
    other = VideoResNet.from_preset(folder, num_classes=5, adapt="classes", input_shape=(8, 64, 64, 3))
    assert other.output_shape == (None, 5) and other.input_shape == (None, 8, 64, 64, 3)
    kernel = model.get_layer("stem_conv").kernel
    np.testing.assert_array_equal(other.get_layer("stem_conv").kernel, kernel)
    with pytest.raises(ValueError, match=r'another shape of fc.*Try: adapt="classes"'):
        VideoResNet.from_preset(folder, num_classes=5)
    fresh = VideoResNet.from_preset(folder, weights=None)
    assert (np.asarray(fresh.get_layer("stem_conv").kernel) != np.asarray(kernel)).any()
    again = VideoResNet(
        18, "i3d_3x3x3", {"res3": {1: chain}, "res4": {0: NonLocal}}, num_classes=3, topology="slowfast",
        squeeze_excite_ratio=8, weights=folder,
    )  # fmt: skip
    np.testing.assert_array_equal(again.get_layer("fc").kernel, model.get_layer("fc").kernel)


NETWORKS = [
    {"temporal": "tsm", "shift_divisor": 4, "dropout": 0.0},
    {"temporal": "c2d", "depth": 34, "topology": "fair_32", "input_shape": (32, 64, 64, 3)},
    {"temporal": "i3d_3x3x3", "topology": "fair_32", "input_shape": (None, None, None, 3)},
    {"temporal": "i3d_3x1x1", "depth": 50, "groups": 32, "group_width": 4, "topology": "keras"},
    {"temporal": "i3d_3x3x3", "depth": 50, "topology": "fair_32_1x1", "input_shape": (32, None, None, 3)},
    {"temporal": "i3d_3x1x1_alternate", "depth": 50, "topology": "nl_table_1", "input_shape": (8, 64, 64, 3)},
    {"temporal": "i3d_3x3x3_alternate"},
    {"temporal": "c2d", "depth": 101, "classifier_activation": "softmax"},
    {"include_top": False, "pooling": "avg"},
    {"include_top": False, "pooling": "max", "temporal": "c2d", "topology": "torchvision"},
    {"include_top": False, "squeeze_excite_ratio": 16, "frozen_batch_norm": True},
    {"images": True, "depth": 50, "topology": "keras"},
    {"images": True, "num_classes": 7, "dropout": 0.25, "input_shape": (None, None, 1)},
]


@pytest.mark.parametrize("arguments", NETWORKS, ids=str)
def test_a_network_tells_its_arguments(arguments):
    arguments = {"depth": 18} | arguments
    images = arguments.pop("images", False)
    build = ImageResNet if images else VideoResNet
    with without_memory():
        model = build(**arguments)
    found, of_images = arguments_of(model)
    assert of_images == images
    shown = found | {"input_shape": tuple(found["input_shape"])}
    assert {name: shown[name] for name in arguments} == arguments


def test_parts_that_did_not_train_freeze_no_other_norms():
    model = VideoResNet(18, blocks={"res3": (0,)}, make_block=RegionNonLocal, num_classes=2)
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(("stem", "res2"))
    assert arguments_of(model)[0]["frozen_batch_norm"] is False
    frozen = VideoResNet(18, num_classes=2, frozen_batch_norm=True)
    assert arguments_of(frozen)[0]["frozen_batch_norm"] is True


def test_every_argument_is_described_or_known_to_be_none_of_a_preset():
    others = {"make_block", "weights", "adapt", "classifier_initializer"}
    assert {*inspect.signature(VideoResNet).parameters} == {*_ARGUMENTS} | others


def test_pairs_of_sizes_are_pairs_again():
    make = functools.partial(BilinearAttentionTransform, size=(2, 4), matrix_size=(4, 4), context_channels=3)
    with without_memory():
        model = VideoResNet(18, blocks={"res4": (0,)}, make_block=make, input_shape=(8, 64, 64, 3))
    data = json.loads(json.dumps(as_data(arguments_of(model)[0])))
    block = as_arguments(data, images=False)["blocks"]["res4"][0](name="again")
    assert (block.size, block.matrix_size, block.context_channels) == ((2, 4), (4, 4), 3)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_tells_its_arguments(name):
    with without_memory():
        model = VideoResNet(18, blocks={"res4": (0,)}, make_block=BLOCKS[name], input_shape=(8, 224, 224, 3))
    found = arguments_of(model)[0]
    again = as_arguments(json.loads(json.dumps(as_data(found))), images=False)
    with without_memory():
        block = again["blocks"]["res4"][0](name="res4_0_block")
    assert type(block) is BLOCKS[name]
    config, expected = block.get_config(), model.get_layer("res4_0_block").get_config()
    assert config.keys() == expected.keys()
    assert all(config[key] == expected[key] for key in config if isinstance(config[key], (int, str, tuple)))


def more(model):
    return keras.Model(model.input, keras.layers.ReLU(name="more")(model.output))


class Mine(NonLocal):
    """A layer that no file may name."""


def test_what_no_arguments_make_is_not_saved(shapes, tmp_path):
    inputs = keras.Input((3,))
    with without_memory():
        networks = {
            "KeyError": keras.Model(inputs, keras.layers.Dense(2)(inputs)),
            "a Mine, which is no block": VideoResNet(18, blocks={"res4": (0,)}, make_block=Mine),
            "other layers or arguments": more(VideoResNet(18)),
            "StopIteration": VideoResNet(18, TemporalKind(3, None, False, "torchvision", 0.01)),
        }
    for words, model in networks.items():
        with pytest.raises(
            ValueError, match=f"save_to_preset: Expected a network .*{words}.*Try: model.save"
        ):
            save_to_preset(tmp_path / "new", model)
    with pytest.raises(ValueError, match=r"a name for each of the 3 classes\. Received 2\. Try"):
        save_to_preset(tmp_path / "new", shapes[1], labels=["a", "b"])
    with pytest.raises(FileExistsError, match=r"Expected a new directory.*exists\. Try"):
        save_to_preset(tmp_path, shapes[1])
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(shapes, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_nonlocal.presets._write", full)
    with pytest.raises(OSError, match="No space left"):
        save_to_preset(tmp_path / "new", shapes[1])
    assert os.listdir(tmp_path) == []


def refused(folder, words):
    with pytest.raises(ValueError, match=rf"^from_preset: Expected [^\n]*{words}[^\n]*Try: [^\n]*$"):
        VideoResNet.from_preset(folder)


@pytest.mark.parametrize("name", [*FILES, "checksums.json"])
def test_a_changed_byte_and_a_missing_file(name, shapes, tmp_path):
    folder = copied(shapes[0], tmp_path)
    data = (folder / name).read_bytes()
    place = len(data) // 2
    put(folder / name, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    refused(folder, name if name != "checksums.json" else "(checksums|with other bytes|Expecting|Invalid)")
    (folder / name).unlink()
    refused(folder, name)
    os.mkfifo(folder / name)
    refused(folder, "a pipe" if name != "config.json" else "no config.json")


def test_a_file_of_another_place_is_never_read(shapes, tmp_path):
    folder = copied(shapes[0], tmp_path)
    sums = json.loads((folder / "checksums.json").read_text())
    for other in (sums | {"../../secret": "0"}, {"../config.json": "0"}, [1], {}):
        put(folder / "checksums.json", json.dumps(other).encode())
        refused(folder, "checksums.json, which is not of config.json, ")
    put(folder / "checksums.json", b"[" * 100_000)
    refused(folder, "")
    put(folder / "README.md", b" " * (2**20 + 1))
    signed(folder)
    refused(folder, "README.md of more than")


def block(**changed):
    return {"blocks": {"res4": {"0": {"class": "NonLocal", "arguments": {}} | changed}}}


def nested(depth):
    data = {"class": "NonLocal", "arguments": {}}
    for _ in range(depth):
        data = {"class": "AttentionChain", "arguments": {"region": data}}
    return {"blocks": {"res4": {"0": data}}}


LAMBDA = {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "code"}}
# case: (arguments that are added to those of config.json, words).
HOSTILE = {
    "a lambda": (block(**{"class": "Lambda"}), "the class 'Lambda' in config.json, which is none of"),
    "an object of Keras": ({"blocks": {"res4": {"0": LAMBDA}}}, "not of a class and its arguments"),
    "one within": (block(arguments={"channels": LAMBDA}), "not of a class and its arguments"),
    "a module": (block(**{"class": "os.system"}), "the class 'os.system'"),
    "an unhashable class": (block(**{"class": ["NonLocal"]}), "unhashable"),
    "an initializer": (block(arguments={"kernel_initializer": "zeros"}), "no argument of a block"),
    "a policy": (block(arguments={"dtype": "float64"}), "'dtype' of a NonLocal"),
    "an unknown argument": (block(arguments={"code": "x"}), "Received .*code"),
    "a list in a list": (block(arguments={"subsample": [[1]]}), "no plain value"),
    "no number": (block(arguments={"channels": float("nan")}), "no plain value"),
    "a wide block": (block(arguments={"channels": 2**30}), "weights for the network.*Received .* bytes for"),
    "a wider one": (block(arguments={"channels": 2**40}), "no plain value"),
    "a wide classifier": ({"num_classes": 60_000}, "3 labels of 60000"),
    "no chain": (nested(1), "[Cc]hannel"),
    "a deep chain": (nested(20), "not of a class and its arguments"),
    "a place": ({"blocks": {"res4": {"../0": {}}}}, "the place '../0'"),
    "a stage": ({"blocks": {"stem": {"0": {"class": "NonLocal", "arguments": {}}}}}, "stages"),
    "weights": ({"weights": "/etc/passwd"}, "'weights' in config.json"),
    "a maker": ({"make_block": "os.system"}, "'make_block' in config.json"),
    "a depth": ({"depth": True}, "'depth' in config.json"),
    "another depth": ({"depth": 19}, "`depth` to be one of"),
    "a temporal kind": ({"temporal": [1, None, False]}, "'temporal' in config.json"),
    "sides": ({"input_shape": [4, 10**9, 32, 3]}, "'input_shape' in config.json"),
    "another shape": ({"input_shape": [4, 3]}, "`input_shape`"),
    "groups": ({"depth": 50, "groups": 65_000, "group_width": 65_000}, "bytes for"),
    "a name": ({"name": "a/b"}, "name"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_config_is_refused(case, shapes, tmp_path):
    added, words = HOSTILE[case]
    folder = copied(shapes[0], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["arguments"] |= added
    put(folder / "config.json", json.dumps(config).encode())
    signed(folder)
    with pytest.raises(ValueError, match=rf"^[^\n]*Expected [^\n]*{words}[^\n]*Try: [^\n]*$"):
        VideoResNet.from_preset(folder)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.json", "[]", "another format than 1"),
        ("config.json", '{"format": 2}', "another format than 1"),
        ("config.json", '{"format": 1}', "no arguments of VideoResNet"),
        ("config.json", "[" * 100_000, "Received"),
        ("labels.json", '["a", 1, "c"]', "labels.json without a list of names"),
        ("labels.json", '["a"]', "1 labels of 3 classes"),
        ("preprocessing.json", "[]", "without a dictionary"),
        ("model.weights.h5", "text" * 2**25, "cannot be read"),
    ],
)
def test_files_with_something_else_in_them(name, text, words, shapes, tmp_path):
    folder = copied(shapes[0], tmp_path)
    put(folder / name, text.encode())
    signed(folder)
    with pytest.raises(ValueError, match=rf"^[^\n]*Expected [^\n]*{words}[^\n]*Try: [^\n]*$"):
        VideoResNet.from_preset(folder)


def test_handles_of_hubs(shapes, monkeypatch, tmp_path):
    asked = []
    for name, function in (("huggingface_hub", "snapshot_download"), ("kagglehub", "model_download")):
        hub = types.ModuleType(name)
        setattr(hub, function, lambda *a, **o: asked.append((a, o)) or str(shapes[0]))
        monkeypatch.setitem(sys.modules, name, hub)
    for handle in ("hf://me/shapes", "hf://me/shapes@v1", "kaggle://me/shapes/keras/small"):
        assert read_preset(handle).labels == SAID["labels"]
    files = [*FILES, "checksums.json"]
    assert asked == [
        (("me/shapes",), {"revision": None, "allow_patterns": files}),
        (("me/shapes",), {"revision": "v1", "allow_patterns": files}),
        (("me/shapes/keras/small",), {}),
    ]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"the package huggingface_hub, .*Try: pip install hugg"):
        VideoResNet.from_preset("hf://me/shapes")
    refused(tmp_path / "absent", "no config.json in a directory of this name")


def test_nothing_waits_for_a_value_after_a_network_without_memory():
    with without_memory():
        model = VideoResNet(18, num_classes=2**22, input_shape=(8, 32, 32, 3))
    assert model.count_params() > 2**31
    keras.layers.Dense(2)(keras.Input((3,)))  # Keras would now make 8 GB of values.
    assert all(variable._value is None for variable in model.get_layer("fc").weights)
