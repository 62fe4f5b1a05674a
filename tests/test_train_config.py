"""Flags and configurations: one description, three forms (dataclass, command line, flag file)."""

import dataclasses
from pathlib import Path

import pytest
from absl import flags

from train.command_line import config_from_flags, define_flags, read_config
from train.config import Config
from train.config.fields import as_flags, parse, refuse_words
from train.config.relations import RELATIONS

FLAGFILES = Path(__file__).parent.parent / "train" / "flagfiles"
VALID = {"data_dir": "videos", "workdir": "run"}
FIELDS = {field.name: field for field in dataclasses.fields(Config)}

# No value is the field's default, so that a lost field shows.
OTHER = Config(
    data_dir="videos/of mine",
    workdir="run 1",
    train_annotations="t.csv",
    val_annotations="v.csv",
    max_bad_fraction=0.25,
    decode_isolation="process",
    decode_timeout=7.5,
    decoder_megabytes=1500,
    workers=3,
    depth=18,
    temporal="i3d_3x3x3",
    topology="slowfast",
    groups=2,
    group_width=32,
    squeeze_excite_ratio=8,
    frozen_batch_norm=True,
    weights="a b.weights.h5",
    adapt=("classes", "images"),
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
    crop_method="random_resized",
    crop_area=(0.2, 1.0),
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
    accumulation=3,
    ema=0.99,
    synchronized_batch_norm=True,
    nan_policy="rewind",
    checkpoint_minutes=1.5,
    checkpoint_steps=5,
    keep_checkpoints=3,
    keep_epoch="best",
    patience_epochs=2,
    max_minutes=90.5,
    epochs=7,
    learning_rate=0.3,
    base_batch_size=6,
    schedule="steps",
    decay_epochs=(2.5, 4.0),
    decay_factor=0.2,
    warmup_epochs=0.5,
    warmup_start=0.25,
    rates=("res3=2.5", "fc=10"),
    freeze=("stem", "res2"),
    momentum=0.8,
    nesterov=True,
    weight_decay=0.0,
    decayed=("kernels", "block_gammas"),
    multi_label=True,
    label_smoothing=0.1,
    clip_norm=1.5,
    seed=3,
    test_clips=2,
    test_crops=1,
    test_size=72,
    test_short_side=80,
    test_crop_places="whole",
    test_pooling="max",
)
# A service does not go with rewinding.
SERVED = dataclasses.replace(OTHER, nan_policy="stop", data_service="grpc://localhost:5000")
ADAMW = dataclasses.replace(
    OTHER,
    optimizer="adamw",
    beta2=0.95,
    nesterov=False,
    frozen_batch_norm=False,
    partial_batch_norm=True,
    precise_batch_norm=4,
    sampling="dense",
    consensus_clips=2,
    steps=90,
    schedule="cosine",
    decay_epochs=(),
    warmup_epochs=0.0,
    warmup_steps=9,
    warmup_by="epoch",
    warmup_to="curve",
    cosine_after_warmup=False,
)
DROPPING = dataclasses.replace(OTHER, decay_epochs=(), decay_steps=(30, 60))
# Segments have neither stride nor starts.
STRIDED = dataclasses.replace(OTHER, sampling="dense", stride=5, test_starts="middles")
EXAMPLES = OTHER, SERVED, ADAMW, DROPPING, STRIDED


def parsed(*arguments):
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["program", *arguments], flag_values)
    return config_from_flags(flag_values)


def test_the_example_differs_from_every_default():
    for field in dataclasses.fields(Config):
        assert any(getattr(config, field.name) != field.default for config in EXAMPLES), field.name


@pytest.mark.parametrize("config", [Config(**VALID), *EXAMPLES, dataclasses.replace(OTHER, blocks=())])
def test_flag_file_gives_the_configuration_again(config, tmp_path):
    (tmp_path / "run.flags").write_text(config.to_flags())
    assert parsed(f"--flagfile={tmp_path / 'run.flags'}") == config
    assert read_config(tmp_path) == config


def test_every_field_has_a_flag_with_its_help_and_default():
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    for field in dataclasses.fields(Config):
        shown = flag_values[field.name].help
        words = field.metadata["check"].words
        assert shown.startswith(field.metadata["help"]) and words in shown
        if field.metadata["repeated"]:
            shown = shown.removesuffix(";\n    repeat this option to specify a list of values")
        assert shown == field.metadata["help"]
    assert parsed("--data_dir=videos", "--workdir=run") == Config(**VALID)


@pytest.mark.parametrize("path", sorted(FLAGFILES.glob("*.flags")), ids=lambda path: path.name)
def test_flag_files_of_the_package_are_valid(path):
    parsed(f"--flagfile={path}", "--data_dir=videos", "--workdir=run")


def test_a_flag_file_includes_others_by_names_that_are_relative_to_its_own(tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.flags").write_text("# All runs.\n--epochs=7\n--dropout=0.25\n")
    (tmp_path / "shared" / "long.flags").write_text("--flagfile=base.flags\n// Longer.\n--epochs=9\n")
    (tmp_path / "row.flags").write_text("--depth=18\n\n-flagfile=shared/long.flags\n--dropout=0.5\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for words in (["--flagfile=../row.flags"], ["--flagfile", str(tmp_path / "row.flags")]):
        config = parsed("--data_dir=videos", *words, "--workdir=run")
        assert (config.depth, config.epochs, config.dropout, config.workdir) == (18, 9, 0.5, "run")
    assert parsed("--data_dir=videos", *words, "--workdir=run", "--epochs=3").epochs == 3


def test_a_repeated_flag_after_a_flag_file_takes_the_place_of_those_in_it(tmp_path):
    path = tmp_path / "row.flags"
    path.write_text("--block=NonLocal\n--block=res4=RegionNonLocal\n--flip\n")
    given = [f"--flagfile={path}", "--data_dir=videos", "--workdir=run"]
    assert parsed(*given).block == ("NonLocal", "res4=RegionNonLocal")
    assert parsed(*given, "--block=GlobalContext", "--block", "res3=NonLocal").block == (
        "GlobalContext",
        "res3=NonLocal",
    )
    assert parsed("--block=GlobalContext", *given).block == (
        "GlobalContext",
        "NonLocal",
        "res4=RegionNonLocal",
    )
    assert not parsed(*given, "--noflip").flip


def test_flag_files_that_cannot_be_read_are_refused_with_the_file_that_names_them(tmp_path):
    first, second = tmp_path / "first.flags", tmp_path / "second.flags"
    first.write_text("--flagfile=second.flags\n")
    with pytest.raises(ValueError, match=r"Received .*second\.flags'?, in .*first\.flags\. Try: --flagfile="):
        parsed(f"--flagfile={first}")
    second.write_text("--flagfile=./first.flags\n")
    with pytest.raises(ValueError, match=r"Received .*first\.flags, which includes itself\. Try: "):
        parsed(f"--flagfile={first}")
    with pytest.raises(ValueError, match="Expected a flag file"):
        parsed("--flagfile")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_bad_fraction", 1.1),
        ("depth", 19),
        ("temporal", "lstm"),
        ("topology", "fair"),
        ("groups", 0),
        ("group_width", 0),
        ("squeeze_excite_ratio", -1),
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
        ("crop_area", (0.08,)),
        ("crop_area", (0.0, 1.0)),
        ("crop_area", (1.1, 1.25)),
        ("crop_area", (0.5, 0.4)),
        ("crop_area", (0.08, float("inf"))),
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
        ("clip_norm", -1.0),
        ("label_smoothing", 1.0),
        ("decayed", ("gammas",)),
        ("warmup_start", 1.5),
        ("seed", -1),
        ("seed", 2**31),
        ("stride", -1),
        ("test_crops", 2),
        ("test_short_side", -1),
        ("test_crop_places", "quarters"),
        ("test_starts", "odd"),
        ("test_pooling", "median"),
    ],
)
def test_values_out_of_range_name_the_flag_the_value_and_a_remedy(name, value):
    refused_with_a_remedy({name: value}, name)


def refused_with_a_remedy(values, name):
    """Checks that an error blames the field, and that its hint is accepted beside the other values."""
    with pytest.raises(ValueError, match=rf"(?s)^Expected --{name} to be .+\. Received .+\. Try: ") as caught:
        Config(**VALID | values)
    hint = str(caught.value).rsplit("Try: ", 1)[1]
    assert hint.startswith(f"--{name}=")
    others = [flag for other in values if other != name for flag in as_flags(FIELDS[other], values[other])]
    mended = parsed("--data_dir=videos", "--workdir=run", *others, hint)
    assert getattr(mended, name) != values.get(name, FIELDS[name].default)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("window_frames", {"clip_frames": 128}),
        ("decay_epochs", {"schedule": "steps"}),
        ("decay_epochs", {"decay_epochs": (3.0,)}),
        ("decay_epochs", {"schedule": "steps", "decay_epochs": (20.0, 10.0)}),
        ("decay_epochs", {"schedule": "steps", "decay_epochs": (20.0, 50.0)}),
        ("decay_epochs", {"schedule": "steps", "decay_epochs": (20.0, 10.0), "steps": 900}),
        ("decay_epochs", {"schedule": "steps", "decay_epochs": (20.0,), "decay_steps": (100,)}),
        ("decay_steps", {"decay_steps": (100,)}),
        ("decay_steps", {"schedule": "steps", "steps": 100}),
        ("decay_steps", {"schedule": "steps", "decay_steps": (200, 100)}),
        ("decay_steps", {"schedule": "steps", "decay_steps": (200, 900), "steps": 900}),
        ("beta2", {"beta2": 0.9}),
        ("nesterov", {"nesterov": True, "optimizer": "adamw"}),
        ("cosine_after_warmup", {"cosine_after_warmup": False, "schedule": "constant"}),
        ("warmup_to", {"warmup_to": "curve"}),
        ("partial_batch_norm", {"partial_batch_norm": True, "frozen_batch_norm": True}),
        ("precise_batch_norm", {"precise_batch_norm": 200, "frozen_batch_norm": True}),
        ("consensus_clips", {"consensus_clips": 3, "sampling": "segments"}),
        ("window_frames", {"window_frames": 7}),
        ("window_frames", {"window_frames": 56, "stride": 8}),
        ("stride", {"sampling": "segments", "stride": 2}),
        ("test_starts", {"sampling": "segments", "test_starts": "middles"}),
        ("test_starts", {"short_videos": "hold", "test_starts": "fair"}),
        ("test_short_side", {"test_short_side": 255}),
        ("test_crops", {"test_crop_places": "whole"}),
        ("test_crops", {"test_crop_places": "thirds", "test_crops": 1}),
        ("test_crops", {"test_crop_places": "thirds", "test_crops": 2}),
        ("short_side", {"crop": 288}),
        ("short_side", {"crop": 288, "short_side": 287}),
        ("jitter_sides", {"crop_method": "scale_jitter", "crop": 300, "short_side": 300}),
        ("jitter_sides", {"crop_method": "scale_jitter", "jitter_sides": (320, 256)}),
        ("jitter_sides", {"crop_method": "scale_jitter", "jitter_sides": (256,)}),
        ("temporal", {"clip_frames": 1}),
        ("crop_method", {"crop_area": (0.08, 1.0)}),
        ("batch_size", {"repeats": 3}),
        ("batch_size", {"repeats": 3, "batch_size": 1}),
        ("batch_size", {"repeats": 3, "batch_size": 0}),
        ("accumulation", {"accumulation": 7}),
        ("accumulation", {"accumulation": 0}),
        ("nan_policy", {"nan_policy": "rewind", "data_service": "grpc://localhost:1"}),
        ("warmup_epochs", {"epochs": 3}),
        ("warmup_epochs", {"epochs": 3, "warmup_epochs": 3.0}),
        ("warmup_epochs", {"epochs": 3, "warmup_epochs": -1.0}),
        ("warmup_epochs", {"warmup_epochs": 2.0, "warmup_steps": 10}),
        ("warmup_steps", {"warmup_epochs": 0.0, "warmup_steps": 90, "steps": 90}),
        ("freeze", {"freeze": ("stem", "res6")}),
        ("freeze", {"freeze": ("fc", "fc")}),
        ("freeze", {"freeze": ("blocks",), "blocks": ()}),
        ("freeze", {"freeze": ("stem", "res2", "res3", "res4", "res5", "blocks", "fc")}),
        ("freeze", {"freeze": ("stem", "res2", "res3", "res4", "res5", "fc"), "blocks": ()}),
        ("rates", {"rates": ("stem=0.1", "block=2")}),
        ("rates", {"rates": ("fc=10", "fc=5")}),
        ("rates", {"rates": ("fc=0",)}),
        ("rates", {"rates": ("fc=inf",)}),
        ("rates", {"rates": ("fc",)}),
        ("rates", {"rates": ("blocks=2",), "blocks": ()}),
        ("rates", {"rates": ("stem=0.1", "fc=10"), "freeze": ("stem",)}),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_a_value_that_does(name, values):
    refused_with_a_remedy(values, name)


def test_every_constraint_between_fields_is_tested():
    cases = test_values_that_do_not_go_together_are_refused_with_a_value_that_does.pytestmark[0].args[1]
    assert {relation.field for relation in RELATIONS} == {name for name, _ in cases}


def test_the_groups_of_a_recipe_go_with_networks_that_lack_some():
    groups = {
        "rates": ("fc=5", "biases=2", "regions=2", "block_betas=2"),
        "decayed": ("kernels", "block_gammas"),
    }
    assert Config(**VALID | groups, blocks=()).rates == Config(**VALID | groups, freeze=("blocks",)).rates


def test_the_words_of_a_refusal():
    assert refused_with_a_remedy({"epochs": 0}, "epochs") == (
        "Expected --epochs to be at least 1. Received 0. Try: --epochs=50"
    )
    assert refused_with_a_remedy({"epochs": 3}, "warmup_epochs") == (
        "Expected --warmup_epochs to be less than --epochs=3. Received 5.0. Try: --warmup_epochs=0.3"
    )


def test_a_misspelt_part_is_named_with_the_nearest():
    assert "Try: --freeze=stem,res3" in refused_with_a_remedy({"freeze": ("stam", "res3")}, "freeze")
    text = refused_with_a_remedy({"rates": ("Block=2", "fc=10", "stem=x")}, "rates")
    assert "Try: --rates=blocks=2,fc=10,stem=0.1" in text


def test_every_default_may_be_what_it_is():
    for field in FIELDS.values():
        assert field.metadata["check"].holds(field.default), field.name


def test_a_flag_file_has_its_flags_under_headings():
    lines = Config(**VALID).to_flags().splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [
        "# data",
        "# network",
        "# clips",
        "# augmentation",
        "# optimisation",
        "# checkpoints",
        "# evaluation",
    ]
    assert lines[lines.index("# clips") + 1] == "--clip_frames=8"


def test_words_beside_the_flags_are_refused():
    refuse_words(["program"])
    with pytest.raises(ValueError, match=r"^Expected nothing but flags\. Received 'demo\.flags 2'\. Try: "):
        refuse_words(["program", "demo.flags", "2"])


def test_a_configuration_is_made_without_building_a_layer(monkeypatch):
    monkeypatch.setattr("keras.Layer.__new__", None)
    Config(block=("no block at all",))


def test_words_for_numbers_are_refused():
    with pytest.raises(ValueError, match=r"Expected --crop_scales to be numbers.*Received '1,small'.*Try"):
        parsed("--data_dir=videos", "--workdir=run", "--crop_scales=1,small")


@pytest.mark.parametrize("name", ["data_dir", "workdir"])
def test_directories_are_needed_where_videos_are_read(name):
    others = [f"--{other}=x" for other in ("data_dir", "workdir") if other != name]
    with pytest.raises(ValueError, match=rf"Expected --{name} to be a directory\. Received none\. Try"):
        parsed(*others)


def test_read_config_names_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected .*Received .*no run.flags.*Try"):
        read_config(tmp_path)


def test_a_misspelt_move_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"--adapt to be names among .*'class', 'nl'.*Try: --adapt=classes$"):
        Config(**VALID, adapt=("class", "nl"))
