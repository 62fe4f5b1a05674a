"""The commands of README.md and docs/data.md run in a shell, as they are printed, on small data."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import released
from test_pipelines_builders import kinetics, put
from test_project_docs import blocks
from torch_file import write_torch

from pipelines import synthetic
from pipelines.manifest import Manifest, write_manifest
from pipelines.manifest.annotations import read_folders
from savedmodels.export import export

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/data.md")

# Commands that no test runs, by what stands in them.
NOT_RUN = {
    "make demo": "it makes .venv first; tests/test_train_demo.py runs what it then runs",
    "make test": "it makes .venv first, and then runs this test",
    "benchmarks/blocks.py": "it measures for minutes; tests/test_benchmarks_blocks.py tries its parts",
    "benchmarks/pipeline.py": "it measures for minutes; other tests try its parts",
    "benchmarks/inference.py": "it measures for minutes, and needs PyTorch",
    "keras.applications.ResNet50()": "it downloads 100 MB; the file is made in its place",
    "rnl/4.8f.flags": "it needs Kinetics; tests/test_train_recipes.py trains each recipe for a step",
    "gs://bucket": "it needs an account at Google",
    ".venv-beam": "it makes another environment; `make test-beam` does that",
}
# Flags that are added to a command which would take hours or days, by what stands in it.
ADDED = {
    "--weights=start.weights.h5": "--batch_size=174 --clip_frames=1 --temporal=c2d --short_side=32 --crop=32 "
    "--test_size=32 --epochs=1 --warmup_epochs=0 --test_clips=1 --test_crops=1",
    "train.finetune --data_dir=videos": "--epochs=1 --crop=32 --batch_size=2 --test_clips=1",
    "--flagfile=train/flagfiles/demo.flags --data_dir": "--epochs=1 --blocks= --crop=32 --test_size=32 "
    "--batch_size=32 --test_clips=1 --test_crops=1",
    "pipelines.synthetic --output=runs/motions/data": "--train=32 --val=8",
    "--val_annotations='videos.jsonl#val' --workdir=run": "--depth=18 --blocks=res3_0 --batch_size=4 "
    "--clip_frames=2 --short_side=32 --crop=32 --test_size=32 "
    "--epochs=1 --warmup_epochs=0 --test_clips=1 --test_crops=1",
}


def videos(directory, _, classes=2, train=4, val=1):
    """Writes a folder of videos as "Your own videos" asks for, and one video more."""
    for number, label in enumerate(list(synthetic.MOTIONS)[:classes]):
        for split, count in (("train", train), ("val", val)):
            folder = directory / "videos" / split / label
            folder.mkdir(parents=True)
            for seed in range(count):
                frames, fps = synthetic.scene(label, (number, seed, split == "val"))
                synthetic.write_video(str(folder / f"{seed}.mp4"), frames, fps)
    synthetic.write_video(str(directory / "clip.mp4"), *synthetic.scene(label, (9, 9)))


def unsplit(directory, _):
    """Writes a folder of videos without splits."""
    for label in ("growing", "moving up"):
        (directory / "more" / label).mkdir(parents=True)
        for seed in range(4):
            frames, fps = synthetic.scene(label, (1, seed))
            synthetic.write_video(str(directory / "more" / label / f"{seed}.mp4"), frames, fps)


def weights(directory, _):
    """Writes a TSM network with its five blocks as its authors store it, Keras's ResNet-50, 174 classes."""
    _, _, tensors, _ = released.load_model("model_tsm_r50_nl5")
    write_torch(
        directory / "TSM_kinetics_RGB_resnet50_nl.pth.tar", {f"module.{k}": v for k, v in tensors.items()}
    )
    keras.applications.ResNet50(weights=None).save_weights(directory / "resnet50.weights.h5")
    clip = directory / "data" / "clip.mp4"
    clip.parent.mkdir()
    synthetic.write_video(str(clip), *synthetic.scene("growing", (9, 9)))
    for split in ("train", "val"):
        rows = [["label", "youtube_id", "time_start", "time_end", "split"]]
        for number in range(174):
            rows.append([f"class {number:03}", f"v{number:03}", 0, 10, split])
            video = directory / "data" / split / f"class {number:03}" / f"v{number:03}_000000_000010.mp4"
            video.parent.mkdir(parents=True)
            video.hardlink_to(clip)
        with open(directory / "data" / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)


def savedmodel(directory, request):
    """Exports a run to where the demo does."""
    run = request.getfixturevalue("finished_run")
    export(str(run.workdir), str(directory / "runs" / "demo" / "run" / "savedmodel" / "1"))


def manifest(directory, _):
    """Writes videos.jsonl and the videos in it."""
    videos(directory, _, train=2)
    parts = [read_folders(directory / "videos", split) for split in ("train", "val")]
    write_manifest(directory / "videos.jsonl", Manifest(parts[0].videos + parts[1].videos, parts[0].classes))


def kinetics400(directory, _):
    """Writes a folder as Kinetics-400 is laid out."""
    clip = directory / "clip.mp4"
    synthetic.write_video(str(clip), *synthetic.scene("growing", (9, 9)))
    put(directory / "downloads" / "kinetics400", kinetics(clip.read_bytes()))


# What the commands below a heading find in their directory; those below other headings find nothing.
PREPARED = {
    "Weights that you have": weights,
    "Your own videos": videos,
    "Serving": savedmodel,
    "Data: from a folder of videos to batches": videos,
    "Manifests": unsplit,
    "Records": manifest,
    "TFDS": kinetics400,
}
# `make test` leaves these out: networks of depth 50, all figures of four papers, what README.md has too, and
# what the tests of the programs try on other data.
LONG = (
    "Your own videos",
    "Weights that you have",
    "What a network costs",
    "Data: from a folder of videos to batches",
    "Serving",
)


def headings(document):
    """Returns {heading: its console lines}, of the headings that have any."""
    found = {}
    for section in re.split(
        r"^#+ (?=[A-Z])", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE
    )[1:]:
        shown = "".join(blocks(section, "console")).replace("\\\n", "")
        lines = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
        if lines:
            found[section.splitlines()[0]] = lines
    return found


SECTIONS = {
    (document, heading): lines for document in DOCUMENTS for heading, lines in headings(document).items()
}


def what_stands_in(line, table):
    """Returns the value of `table` whose key stands in a command; None if there is none."""
    return next((value for words, value in table.items() if words in line), None)


def run(line, directory):
    """Runs a line of the documents in a shell, in a directory that looks like a checkout after `make`."""
    (directory / "train").mkdir(exist_ok=True)
    links = {".venv": sys.prefix} | {name: ROOT / name for name in ("benchmarks", "train/flagfiles")}
    for name, target in links.items():
        if not (directory / name).exists():
            (directory / name).symlink_to(target)
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(line, shell=True, cwd=directory, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("document", "heading"),
    [
        pytest.param(*section, marks=pytest.mark.long if section[1] in LONG else ())
        for section, lines in SECTIONS.items()
        if not all(what_stands_in(line, NOT_RUN) for line in lines)
    ],
)
def test_commands_run_as_printed(document, heading, tmp_path, request):
    PREPARED.get(heading, lambda *_: None)(tmp_path, request)
    for line in SECTIONS[document, heading]:
        if not what_stands_in(line, NOT_RUN):
            process = run(f"{line} {what_stands_in(line, ADDED) or ''}", tmp_path)
            assert process.returncode == 0, f"{line}\n{process.stderr[-3000:]}"


@pytest.mark.long
def test_fifty_videos_of_ones_own_are_learnt_by_the_commands_as_printed(tmp_path):
    videos(tmp_path, None, classes=5, train=8, val=2)
    for line in SECTIONS["README.md", "Your own videos"][:3]:
        process = run(f"{line} --epochs=24 --crop=64" if "train.finetune" in line else line, tmp_path)
        assert process.returncode == 0, f"{line}\n{process.stderr[-3000:]}"
    results = json.loads((tmp_path / "runs" / "mine" / "results.json").read_text())
    assert results["videos"] == 10 and results["top1"] >= 0.6  # Chance is 0.2.


def test_every_exception_is_of_some_command():
    lines = [line for lines in SECTIONS.values() for line in lines]
    assert lines and all(any(words in line for line in lines) for words in NOT_RUN | ADDED)
    assert {*PREPARED, *LONG} <= {heading for _, heading in SECTIONS}
