"""A run as it is when it has ended, with a network that is made in no time."""

import json

import keras
import numpy as np

from pipelines import synthetic
from pipelines.manifest import Label, Manifest, Video, write_manifest
from train.config import Config
from train.scoring.trained import Trained
from train.scoring.views import serving_of

CLASSES = tuple(sorted(synthetic.MOTIONS))[:6]


def config(**changes):
    """Returns the configuration of such a run."""
    views = {"clip_frames": 2, "sampling": "segments", "test_clips": 2, "test_crops": 3}
    sizes = {
        "test_size": 16,
        "crop": 16,
        "short_side": 16,
        "batch_size": 7,
        "depth": 18,
        "blocks": ("res3_0",),
    }
    return Config(**views | sizes | {"mean": (90.0, 100.0, 110.0), "std": (50.0, 60.0, 70.0)} | changes)


def network(classes=6, frames=2):
    """Returns a network that tells colours at places, with weights that are the same each time."""
    keras.utils.set_random_seed(1)
    clip = keras.Input((frames, 16, 16, 3))
    x = keras.layers.AveragePooling3D((1, 8, 8))(clip)
    return keras.Model(clip, keras.layers.Dense(classes)(keras.layers.Flatten()(x)))


def trained():
    """Returns the network, its configuration and its classes."""
    return Trained(network(), config(), CLASSES, "made here")


def write_run(workdir, model=None, classes=CLASSES, **changes):
    """Writes what a finished run leaves in its workdir."""
    workdir.mkdir()
    run = config(**{"workdir": str(workdir), "data_dir": str(workdir)} | changes)
    (workdir / "run.flags").write_text(run.to_flags())
    (model or network()).save(workdir / "model.keras")
    (workdir / "serving.json").write_text(json.dumps(serving_of(run, classes)))


def write_videos(folder, count=8):
    """Writes small videos, the i-th named n{i}.mp4 and of class i; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"n{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        frames = rng.integers(256, size=(5, 4, 6, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
        synthetic.write_video(str(path), frames, 10)
    return paths


def write_split(path, videos, labels, classes=CLASSES):
    """Writes a manifest of videos with some labels each: names, or (name, start, end)."""
    number = {name: place for place, name in enumerate(classes)}
    rows = [
        Video(str(video), tuple(Label(number[a], b, c) for a, b, c in ((*x, None, None)[:3] for x in named)))
        for video, named in zip(videos, labels, strict=True)
    ]
    write_manifest(str(path), Manifest(tuple(rows), tuple(classes)))
