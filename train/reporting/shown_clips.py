"""Clips to look at: those of a training as the network sees them, and views of evaluation."""

import dataclasses
import types

import numpy as np

from pipelines.dataset import evaluation_views
from train.data import mixes, samplers, training_batches, training_format
from train.scoring.views import view_arguments


@dataclasses.dataclass(frozen=True)
class ShownClip:
    """A clip to look at.

    Attributes:
        pixels: uint8 [T, H, W, 3].
        labels: [(class, weight), ...], the heaviest first; weights are in (0, 1].
        path: That of the video.
        frames: How many frames of the video, or of its part, there are to choose from.
        seconds: float [T], the times of the clip's frames, from the beginning of the file.
    """

    pixels: np.ndarray
    labels: list
    path: str
    frames: int
    seconds: np.ndarray


def training_clips(config, data, count, account):
    """Returns the first clips of a training, at most an epoch's.

    They come out of the pipeline of the run itself, and their pixels are what the network gets, rounded to
    whole grey levels.

    Args:
        config: A `Config`.
        data: Its `Data`.
        count: How many.
        account: The `Account` in which videos are entered.
    """
    schedule = data.schedule
    count = min(count, schedule.steps_per_epoch * schedule.batch_size)
    if not mixes(config):  # What is in a batch matters to clips that are mixed; others need not wait for it.
        size = min(-(-count // schedule.repeats) * schedule.repeats, schedule.batch_size)
        schedule = dataclasses.replace(schedule, batch_size=size, epochs=1, last_step=0)
    alone = dataclasses.replace(config, data_service="")  # A service makes the same batches.
    batches = training_batches(alone, data.train, account, schedule)
    clips = []
    for pixels, labels in batches.take(-(-count // schedule.batch_size)):
        clips += zip(denormalised(pixels.numpy(), config), labels.numpy(), strict=True)
    return [
        ShownClip(pixels, _weighted(label), *_origin(config, data.train, schedule, place // schedule.repeats))
        for place, (pixels, label) in enumerate(clips[:count])
    ]


def denormalised(clips, config):
    """Returns clips that were normalised, float [..., 3], as pixels, uint8."""
    pixels = clips * np.array(config.std, np.float32) + np.array(config.mean, np.float32)
    return pixels.round().clip(0, 255).astype(np.uint8)


def words_of(clip, classes):
    """Returns the labels of a `ShownClip` in words, with their weights if it is mixed of several."""
    names = [(classes[k], f" {weight:.0%}".replace("%", " %") * (weight < 1)) for k, weight in clip.labels]
    return ", ".join(f"{name}{weight}" for name, weight in names) or "no label"


def views_of(config, source, row, account=None):
    """Returns the views by which a video is evaluated, uint8 [clips * crops, T, H, W, 3], or None.

    Args:
        config: A `Config`.
        source: The source of the videos.
        row: The video's place in the manifest.
        account: The `Account` in which it is entered if it cannot be read; None enters it nowhere.
    """
    count, found = config.test_clips * config.test_crops, []
    noted = types.SimpleNamespace(
        use=_nothing,
        replace=_nothing,
        check=_nothing,
        add=lambda row, bad: found.append(bad),
        path=lambda row: source.manifest.videos[row].path,
    )
    batches = evaluation_views(
        source,
        **view_arguments(config),
        batch_size=count,
        account=noted,
        views=range(row * count, (row + 1) * count),
    )
    pixels, _, _ = next(iter(batches))
    if not found:
        return denormalised(pixels.numpy(), config)
    if account is not None:
        account.add(row, found[0])
    return None


def _nothing(*arguments):
    pass


def _weighted(label):
    """Returns [(class, weight), ...] of a class, or of a vector of weights."""
    if not label.ndim:
        return [(int(label), 1.0)]
    return [(int(k), float(label[k])) for k in np.argsort(-label, kind="stable") if label[k] > 0]


def _origin(config, source, schedule, index):
    """Returns (path, count of frames, times of the clip's frames) of the clip of an index.

    The pipeline tells no path. What it reads is a function of seed, epoch and index, so it is read again.
    """
    counts, sample, frames = [], samplers(config)[0], training_format(config).frames

    def noting(count, draws):
        counts.append(int(count))
        return sample(count, frames, draws)

    for attempt in range(100):
        row = int(schedule.order.row(index, attempt))
        draws = schedule.order.draws(index, attempt, frames)
        ok, _, seconds, _ = source.fetch(row, noting, np.asarray(draws), _corner)
        if ok:
            return source.manifest.videos[row].path, counts[-1], np.asarray(seconds)
    raise ValueError("Expected a readable video. Received 100 bad ones in a row. Try: repair them.")


def _corner(frames):
    return frames[..., :1, :1, :]
