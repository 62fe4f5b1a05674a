"""The papers' rows: each has its flag file or a reason, describes its network, and trains."""

import csv
import dataclasses
import functools
import json
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from pipelines.order import Schedule
from train.command_line import config_from_flags, define_flags
from train.config.fields import parse
from train.config.flag_files import with_flag_files
from train.loop.run import build_model
from train.network import _serialised as serialised
from train.network import network_fields
from train.origin import NetworkError, check_origin
from train.profile import network_costs
from train.recipes import __main__ as program
from train.recipes.lists import as_markdown, as_text
from train.recipes.rows import FLAG_FILES, PAPERS, read_rows

ROOT = Path(__file__).parent.parent
ROWS = {row.name: row for row in read_rows()}
TRAINED = [row for row in ROWS.values() if row.path]
CLASSES = {
    "kinetics400": 400,
    "mini_kinetics200": 200,
    "something_something_v1": 174,
    "charades": 157,
    "ucf101": 101,
    "cub200": 200,
    "imagenet": 1000,
}
# A row of each recipe, by which it trains for a step; those of `QUICK` in every run of the tests.
OF_RECIPE = {row.recipe.partition(";")[0]: row for row in TRAINED}
QUICK = ("NL-CHA", "BAT-TSN")


@functools.cache
def config_of(path):
    """Returns the `Config` of a flag file."""
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["train", f"--flagfile={path}"], flag_values)
    return config_from_flags(flag_values, ("data_dir", "workdir", "train_annotations", "val_annotations"))


def test_every_published_row_has_a_flag_file_or_a_reason():
    with open(Path(__file__).parent / "published_rows.csv", newline="") as file:
        published = dict(csv.reader(file))
    del published["row"]
    assert len(published) == 280
    assert set(published) == set(ROWS)
    for name, value in published.items():
        numbers = re.findall(r"\d+\.\d+", ROWS[name].published)
        assert numbers == re.findall(r"\d+\.\d+", value), name
        assert bool(ROWS[name].path) != bool(ROWS[name].instead), name
    reasons = {name: row.instead for name, row in ROWS.items() if row.instead}
    quoted = {name for name in published if ".quoted." in name}
    assert {name for name, reason in reasons.items() if reason.startswith("quoted")} == quoted
    assert {row.data_set for row in ROWS.values() if "detector" in row.instead} == {"coco"}


@pytest.mark.parametrize("paper", PAPERS)
def test_flag_files_hold_together(paper):
    for row in TRAINED:
        if row.paper != paper:
            continue
        config = config_of(row.path)
        assert config.workdir == f"runs/{row.name}", row.name
        assert row.data_set in config.data_dir or row.data_set == "mini_kinetics200", row.name
        assert (ROOT / "train/flagfiles/data" / f"{row.data_set}.flags").is_file()
        assert bool(config.blocks) == bool(row.blocks), row.name
        assert bool(config.weights) == bool(config.adapt) or row.recipe.startswith("BAT-TSN"), row.name
        if config.weights.startswith("runs/"):  # A stage before has its own flag file.
            before = config.weights.removeprefix("runs/")
            start = Path(FLAG_FILES) / "bat" / "recipes" / f"{before.partition('.')[2]}.flags"
            assert (before in ROWS and ROWS[before].path) or start.is_file(), row.name


def test_each_stage_starts_from_the_one_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    staged = {row.name: row for row in TRAINED if config_of(row.path).weights.startswith("runs/")}
    assert {"nl.2g.r50.nl_i3d", "nl.4.nl_i3d", "bat.7.bat_4_4", "bat.8.c2d_3dbat_tsn"} <= set(staged)
    for row in staged.values():
        config = config_of(row.path)
        before = config.weights.removeprefix("runs/")
        start = f"{FLAG_FILES}/bat/recipes/{before.removeprefix('bat.')}.flags"
        run = Path(config.weights)
        run.mkdir(parents=True, exist_ok=True)
        (run / "run.flags").write_text(config_of(ROWS[before].path if before in ROWS else start).to_flags())
        check_origin(config, CLASSES[row.data_set], False, serialised)  # It raises NetworkError.
    config = dataclasses.replace(config_of(staged["bat.7.bat_4_4"].path), adapt=())
    with pytest.raises(NetworkError, match="Try: "):
        check_origin(config, 200, False, serialised)


def test_all_flag_files_are_rows_or_included():
    files = {path.relative_to(FLAG_FILES).as_posix() for path in Path(FLAG_FILES).rglob("*.flags")}
    rows = {Path(row.path).relative_to(FLAG_FILES).as_posix() for row in TRAINED}
    shared = {name for name in files - rows if "/recipes/" in name or name.startswith("data/")}
    assert files - rows - shared == {"demo.flags"}
    for name in shared:
        assert with_flag_files([f"--flagfile={FLAG_FILES}/{name}"])


def of_unique_networks(rows):
    """Returns {what tells networks apart: (a row's `Config`, its classes, [rows])}."""
    found = {}
    for row in rows:
        config = dataclasses.replace(config_of(row.path), weights="", adapt=())
        key = json.dumps([network_fields(config), CLASSES[row.data_set], config.clip_frames, config.crop])
        found.setdefault(key, (config, CLASSES[row.data_set], []))[2].append(row)
    return found


@pytest.mark.long
@pytest.mark.parametrize("paper", PAPERS)
def test_networks_cost_what_the_flag_files_say(paper):
    for config, classes, rows in of_unique_networks(r for r in TRAINED if r.paper == paper).values():
        total = network_costs(config, classes).total
        for row in rows:
            assert row.parameters == round(total.parameters / 1e6, 2), row.name
            assert row.multiply_adds == round(total.macs / 1e9, 2), row.name
            assert row.attention == pytest.approx(total.products / 1e9, abs=0.0051), row.name


# Parameters and multiply-adds of convolutions and of attention, of papers and released code.
COUNTS = {
    "rnl.3.k400.baseline": (24_327_632, None, 0),
    "rnl.3.k400.SqueezeExcite": (24_791_248, None, 0),
    "rnl.3.k400.NonLocal": (31_686_096, 49.1453, 11.9587),
    "rnl.3.k400.RegionNonLocal": (28_128_720, 41.4616, 47.8350),
    "nl.2c.r50.baseline": (24_327_632, 20.2336, 0),
    "nl.2c.r50.nl5": (31_686_096, 25.3716, 2.9897),
    "nl.2c.r50.nl10": (39_044_560, 30.5097, 5.9794),
    "nl.2f.r50.i3d": (28_043_472, 32.8300, 0),
    "nl.2c.r101.baseline": (43_319_760, 35.0825, 0),
    "bat.2.baseline": (25_557_032, None, 0),
    "bat.2.block_based": (30_234_220, None, None),
    "bat.2.full_resolution": (31_862_980, None, None),
    "bat.2.downsampling": (30_234_220, None, None),
    "bat.4.k1": (30_175_111, None, None),
    "bat.7.baseline": (23_917_832, None, 0),
    "bat.7.nl_new": (31_276_296, None, 2.9897),
    "bat.7.bat_4_4": (28_600_460, None, None),
    "bat.8.i3d": (28_043_472, None, 0),
    "bat.8.c2d_3dbat": (29_190_232, None, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_the_papers_and_their_code(name):
    parameters, macs, products = COUNTS[name]
    row = ROWS[name]
    assert row.parameters == round(parameters / 1e6, 2)
    assert macs is None or row.multiply_adds == pytest.approx(macs, abs=0.006)
    assert products is None or row.attention == pytest.approx(products, abs=0.0051)


def small(row):
    """Returns a row's configuration for tiny clips and a shallow network with blocks of the row's kind."""
    config = config_of(row.path)
    blocks = ("res3_0", "res4_1") if config.blocks else ()
    block = tuple(text for text in config.block if "=" not in text.partition("(")[0])
    tiny = {r", \w*size=\d+": "", r"BilinearAttentionTransform\(": "BilinearAttentionTransform(size=2, "}
    for pattern, text in tiny.items() if blocks else ():
        block = tuple(re.sub(pattern, text, one) for one in block)
    frames = min(config.clip_frames, 8)
    return dataclasses.replace(
        config,
        weights="",
        adapt=(),
        depth=18,
        temporal=config.temporal.replace("3x1x1", "3x3x3"),
        groups=1,
        group_width=64,
        blocks=blocks,
        block=block,
        clip_frames=frames,
        crop=32,
        jitter_sides=(32, 40),
        short_side=0,
        batch_size=4,
        accumulation=min(config.accumulation, 2),
    )


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.long] * (name not in QUICK)) for name in OF_RECIPE]
)
def test_each_recipe_trains_for_a_step(recipe):
    config, count = small(OF_RECIPE[recipe]), 5
    keras.utils.set_random_seed(0)
    schedule = Schedule(8, config.batch_size, config.epochs, config.seed, config.repeats)
    data = types.SimpleNamespace(classes=tuple("abcde"), schedule=schedule)
    model = build_model(config, data)
    rng = np.random.default_rng(0)
    frames = config.clip_frames * config.consensus_clips
    clips = tf.constant(rng.normal(size=(config.batch_size, frames, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(count, size=config.batch_size), tf.int32)
    if config.multi_label:
        labels = tf.one_hot(labels, count)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = tf.function(model.train_step)((clips, labels))
    assert np.isfinite(float(logs["batch_loss"])) and float(logs["gradient_norm"]) > 0
    moved = [
        np.any(weight.numpy() != old) for weight, old in zip(model.trainable_weights, before, strict=True)
    ]
    assert any(moved) or float(logs["learning_rate"]) == 0
    assert int(model.optimizer.iterations.numpy()) == 1


def test_the_page_of_the_docs_is_that_of_the_flag_files():
    assert (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8") == as_markdown(list(ROWS.values()))


def test_lists_and_filters(capsys):
    rows = list(ROWS.values())
    found = program.chosen(rows, paper="bat", block="NonLocal")
    assert {row.name for row in found} >= {"bat.5.r50.nl", "bat.7.nl_new", "bat.8.i3d_nl"}
    assert all(row.paper == "bat" and row.blocks == ("NonLocal",) for row in found)
    baselines = program.chosen(rows, data_set="imagenet", block="none")
    assert {"bat.2.baseline", "cgnl.5.r50.baseline"} <= {row.name for row in baselines}
    assert not any(row.blocks for row in baselines)
    (line,) = [line for line in as_text(rows).splitlines() if line.startswith("nl.2c.r50.nl5 ")]
    assert re.search(
        r"73\.8/91\.0 top-1/top-5 +31\.69 M +25\.4 \+ 3\.0 G +kinetics400 +NonLocal +not run", line
    )
    for flag, words in (
        ({"paper": "nll"}, r"--paper to be one of nl, .* Try: --paper=nl"),
        ({"data_set": "kinetics"}, r"--data_set to be one of .* Try: --data_set=kinetics400"),
        ({"block": "RNL"}, r"--block to be one of none, .* Try: --block=RegionNonLocal"),
    ):
        with pytest.raises(ValueError, match=words):
            program.chosen(rows, **flag)
