"""Flags and configurations: one description, three forms (dataclass, command line, flag file)."""

import dataclasses
from pathlib import Path

import pytest
from absl import flags

from keras_nonlocal import VideoResNet
from train.config import BLOCKS, Config, config_from_flags, define_flags, read_config

FLAGFILES = Path(__file__).parent.parent / "train" / "flagfiles"
VALID = {"data_dir": "videos", "workdir": "run"}

# No value is the field's default, so that a lost field shows.
OTHER = Config(
    data_dir="videos/of mine",
    workdir="run 1",
    train_annotations="t.csv",
    val_annotations="v.csv",
    max_bad_fraction=0.25,
    depth=18,
    block="NonLocal",
    blocks=("res2_1", "res5_0"),
    dropout=0.125,
    dtype_policy="mixed_bfloat16",
    clip_frames=4,
    sampling="segments",
    short_side=80,
    crop=64,
    crop_scales=(1.0, 0.1),
    flip=False,
    mean=(1.0, 2.0, 3.0),
    std=(0.1, 0.2, 0.3),
    batch_size=3,
    epochs=7,
    learning_rate=0.3,
    warmup_epochs=0.5,
    momentum=0.8,
    weight_decay=0.0,
    clip_norm=1.5,
    seed=3,
    test_clips=2,
    test_crops=1,
    test_size=72,
)


def parsed(*arguments):
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    flag_values(["program", *arguments])
    return config_from_flags(flag_values)


def test_the_example_differs_from_every_default():
    for field in dataclasses.fields(Config):
        assert getattr(OTHER, field.name) != field.default, field.name


@pytest.mark.parametrize("config", [Config(**VALID), OTHER, dataclasses.replace(OTHER, blocks=())])
def test_flag_file_gives_the_configuration_again(config, tmp_path):
    (tmp_path / "run.flags").write_text(config.to_flags())
    assert parsed(f"--flagfile={tmp_path / 'run.flags'}") == config
    assert read_config(tmp_path) == config


def test_every_field_has_a_flag_with_its_help_and_default():
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    for field in dataclasses.fields(Config):
        assert flag_values[field.name].help == field.metadata["help"]
    assert parsed("--data_dir=videos", "--workdir=run") == Config(**VALID)


@pytest.mark.parametrize("path", sorted(FLAGFILES.glob("*.flags")), ids=lambda path: path.name)
def test_flag_files_of_the_package_are_valid(path):
    parsed(f"--flagfile={path}", "--data_dir=videos", "--workdir=run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_dir", ""),
        ("workdir", ""),
        ("max_bad_fraction", 1.1),
        ("depth", 19),
        ("block", "Local"),
        ("blocks", ("res1_0",)),
        ("blocks", ("res3",)),
        ("blocks", ("res3_4",)),
        ("dropout", 1.0),
        ("dtype_policy", "float8"),
        ("clip_frames", 0),
        ("sampling", "sparse"),
        ("short_side", 223),
        ("crop_scales", ()),
        ("crop_scales", (1.1,)),
        ("mean", (0.0,)),
        ("std", (1.0, 1.0, 0.0)),
        ("batch_size", 0),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("warmup_epochs", 50.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("seed", -1),
        ("test_crops", 2),
    ],
)
def test_values_out_of_range_name_the_flag_the_value_and_a_remedy(name, value):
    with pytest.raises(ValueError, match=rf"(?s)Expected --{name} to be .*Received .*Try"):
        Config(**(VALID | {name: value}))


def test_words_for_numbers_are_refused():
    with pytest.raises(ValueError, match=r"Expected --crop_scales to be numbers.*Received '1,small'.*Try"):
        parsed("--data_dir=videos", "--workdir=run", "--crop_scales=1,small")


def test_block_places():
    assert Config(**VALID).block_places() == {"res3": (0, 2), "res4": (0, 2, 4)}


def test_read_config_names_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected .*Received .*no run.flags.*Try"):
        read_config(tmp_path)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_goes_into_a_network_for_video(block):
    config = Config(**VALID | {"block": block, "blocks": ("res4_0",), "depth": 18})  # crops of 224 and of 256
    model = VideoResNet(
        18, blocks=config.block_places(), make_block=BLOCKS[block], input_shape=(8, None, None, 3)
    )
    assert model.get_layer("res4_0_block").output.shape == (None, 8, None, None, 256)


def test_a_block_that_refuses_its_map_refuses_before_the_run():
    words = (
        r"--block=BilinearAttentionTransform refuses the map of --test_size=300: res3: Expected .* multiples"
    )
    with pytest.raises(ValueError, match=words):
        Config(**VALID | {"block": "BilinearAttentionTransform", "test_size": 300})
