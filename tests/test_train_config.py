"""Flags and configurations: one description, three forms (dataclass, command line, flag file)."""

import dataclasses
from pathlib import Path

import pytest
from absl import flags

from keras_nonlocal.placement import BLOCKS
from train.config import Config, config_from_flags, define_flags, read_config

FLAGFILES = Path(__file__).parent.parent / "train" / "flagfiles"
VALID = {"data_dir": "videos", "workdir": "run"}

# No value is the field's default, so that a lost field shows.
OTHER = Config(
    data_dir="videos/of mine",
    workdir="run 1",
    train_annotations="t.csv",
    val_annotations="v.csv",
    max_bad_fraction=0.25,
    decode_isolation="process",
    data_service="grpc://localhost:5000",
    workers=3,
    depth=18,
    temporal="i3d_3x3x3",
    topology="slowfast",
    groups=2,
    group_width=32,
    squeeze_excite_ratio=8,
    frozen_batch_norm=True,
    weights="a b.weights.h5",
    block=("NonLocal(pool_order='before', scaled=True)", "res5=RegionNonLocal(kernel_size=(3, 3, 3))"),
    blocks=("res2_1", "res5_0"),
    dropout=0.125,
    dtype_policy="mixed_bfloat16",
    clip_frames=4,
    sampling="segments",
    window_frames=32,
    short_videos="hold",
    fps=12.5,
    short_side=80,
    crop=64,
    crop_method="scale_jitter",
    crop_scales=(1.0, 0.1),
    jitter_sides=(64, 96),
    flip=False,
    rand_augment_layers=2,
    rand_augment_magnitude=7,
    colour_jitter=0.4,
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    repeats=3,
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
        shown = flag_values[field.name].help
        if field.metadata["repeated"]:
            shown = shown.removesuffix(";\n    repeat this option to specify a list of values")
        assert shown == field.metadata["help"]
    assert parsed("--data_dir=videos", "--workdir=run") == Config(**VALID)


@pytest.mark.parametrize("path", sorted(FLAGFILES.glob("*.flags")), ids=lambda path: path.name)
def test_flag_files_of_the_package_are_valid(path):
    parsed(f"--flagfile={path}", "--data_dir=videos", "--workdir=run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_bad_fraction", 1.1),
        ("depth", 19),
        ("temporal", "lstm"),
        ("topology", "fair"),
        ("squeeze_excite_ratio", -1),
        ("blocks", ("res3_4",)),
        ("dropout", 1.0),
        ("dtype_policy", "float8"),
        ("clip_frames", 0),
        ("sampling", "sparse"),
        ("window_frames", 7),
        ("short_videos", "mirror"),
        ("fps", -1.0),
        ("fps", float("inf")),
        ("decode_isolation", "thread"),
        ("data_service", "localhost:5000"),
        ("workers", -1),
        ("short_side", 223),
        ("crop_method", "centre"),
        ("rand_augment_layers", -1),
        ("rand_augment_magnitude", 31),
        ("colour_jitter", 1.1),
        ("erasing", -0.1),
        ("mixup", float("inf")),
        ("cutmix", -1.0),
        ("repeats", 0),
        ("mean", (float("nan"), 0.0, 0.0)),
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


@pytest.mark.parametrize("name", ["data_dir", "workdir"])
def test_directories_are_needed_where_videos_are_read(name):
    others = [f"--{other}=x" for other in ("data_dir", "workdir") if other != name]
    with pytest.raises(ValueError, match=rf"Expected --{name} to be a directory\. Received none\. Try"):
        parsed(*others)


def test_blocks_of_the_default():
    makers = Config(**VALID).block_makers()
    assert {stage: tuple(indices) for stage, indices in makers.items()} == {"res3": (0, 2), "res4": (0, 2, 4)}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"block": ("Local",)}, "Expected a block .*RegionNonLocal.*Received 'Local'.*Try"),
        ({"block": ("NonLocal(pairwize='gaussian')",)}, "pairwize"),
        ({"blocks": ("res1_0",)}, "Expected .*Received 'res1_0'.*Try"),
        ({"blocks": ("nl5",), "depth": 34}, "Expected a depth .*nl5.*Received 34.*Try"),
    ],
)
def test_wrong_blocks_are_refused_with_their_flags(values, words):
    with pytest.raises(ValueError, match=rf"(?s)--block and --blocks: .*{words}"):
        Config(**VALID | values)


def test_a_configuration_builds_the_network_that_its_flags_say():
    config = parsed(
        "--depth=50",
        "--temporal=i3d_3x1x1",
        "--topology=slowfast",
        "--groups=32",
        "--group_width=4",
        "--squeeze_excite_ratio=16",
        "--frozen_batch_norm",
        "--blocks=nl5",
        "--block=NonLocal(pool_order='before')",
        "--block=res4_5=GlobalContext",
        "--data_dir=x",
        "--workdir=x",
    )
    model = config.build_network(7)
    assert model.output_shape == (None, 7) and model.get_layer("stem_conv").kernel_size == (5, 7, 7)
    assert model.get_layer("stem_pool_pad") and model.get_layer("res2_0_se").layer.ratio == 16
    assert model.get_layer("res2_0_conv2").layer.groups == 32 and not model.get_layer("stem_norm").trainable
    blocks = {
        name: type(model.get_layer(f"{name}_block")).__name__ for name in ("res3_1", "res4_3", "res4_5")
    }
    assert blocks == {"res3_1": "NonLocal", "res4_3": "NonLocal", "res4_5": "GlobalContext"}
    assert model.get_layer("res3_1_block").pool_order == "before"


def test_read_config_names_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected .*Received .*no run.flags.*Try"):
        read_config(tmp_path)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_goes_into_a_network_for_video(block):
    config = Config(**VALID | {"block": (block,), "blocks": ("res4_0",), "depth": 18})  # crops of 224 and 256
    model = config.build_network(10)
    assert model.get_layer("res4_0_block").output.shape == (None, 8, None, None, 256)


def test_a_block_that_refuses_its_map_refuses_before_the_run():
    words = r"--block refuses the map of --test_size=300: res3: Expected .* multiples"
    with pytest.raises(ValueError, match=words):
        Config(**VALID | {"block": ("BilinearAttentionTransform",), "test_size": 300})
