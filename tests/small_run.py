"""A data set with every kind of bad video in it, and a training run on it that lasts seconds."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import ramp_videos

from pipelines import synthetic

ROOT = Path(__file__).parent.parent
GOOD_TRAIN, GOOD_VAL = 24, 8
FLAGS = {
    "depth": 18,
    "blocks": "res3_0",
    "clip_frames": 4,
    "sampling": "segments",
    "flip": False,
    "short_side": 40,
    "crop": 32,
    "test_size": 32,
    "test_clips": 2,
    "batch_size": 8,
    "epochs": 2,
    "warmup_epochs": 0,
    "learning_rate": 0.01,
    "max_bad_fraction": 0.3,
}


def write_data(directory):
    """Writes the data set; returns {bad file's name: a word of the reason to expect}."""
    synthetic.write_dataset(str(directory), train=GOOD_TRAIN, val=GOOD_VAL, workers=2)
    label = "moving left"
    good = next((directory / "train" / label).iterdir()).read_bytes()
    sound = Path(ramp_videos.write_audio_only(directory / "sound.mp4")).read_bytes()
    bad = {
        "empty": ("0 bytes", b""),
        "text": ("not a video", b"this is no video\n" * 100),
        "truncated": ("not a video", good[: len(good) // 2]),
        "damaged": ("damaged", good[:200] + bytes(len(good) - 1400) + good[-1200:]),
        "audio": ("no video stream", sound),
        "missing": ("no such file", None),
    }
    with open(directory / "train.csv", "a", newline="") as file:
        for name, (_, content) in bad.items():
            csv.writer(file).writerow([label, name, 0, 10, "train"])
            if content is not None:
                (directory / "train" / label / f"{name}_000000_000010.mp4").write_bytes(content)
        csv.writer(file).writerow([label, "short", 0, 10, "train"])  # Fewer frames than a clip; not bad.
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    synthetic.write_video(str(directory / "train" / label / "short_000000_000010.mp4"), frames, 10)
    (directory / "val" / "growing" / "broken_000000_000010.mp4").write_bytes(b"no video")
    with open(directory / "val.csv", "a", newline="") as file:
        csv.writer(file).writerow(["growing", "broken", 0, 10, "val"])
    return {name: reason for name, (reason, _) in bad.items()}


def run_python(*arguments, timeout=250):
    """Runs Python from the project's root; returns the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_module(*arguments):
    """Runs `python -m` from the project's root; returns the finished process."""
    return run_python("-m", *arguments)


# A shell that starts a job in its background lets it, and all that it starts, ignore interrupts.
_INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def start_module(*arguments):
    """Starts `python -m` from the project's root, as in a terminal; returns the running process."""
    command = [sys.executable, "-u", "-c", _INTERRUPTIBLE, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def train(data, workdir, **changes):
    """Runs `python -m train.kinetics` on the data set."""
    return run_module("train.kinetics", *train_arguments(data, workdir, **changes))


def train_arguments(data, workdir, **changes):
    """Returns the flags of a run of seconds on the data set."""
    flags = FLAGS | {"data_dir": data, "workdir": workdir} | changes
    return [f"--{name}={value}" for name, value in flags.items()]
