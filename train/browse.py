"""Shows what a network would see, before anything is trained: writes the clips of a configuration to a page.

python -m train.browse --flagfile=train/flagfiles/demo.flags [--output=browse.html] [--clips=24]
"""

import collections
import dataclasses
import os
import re
import sys

import numpy as np
import tensorflow as tf
from absl import app, flags

from pipelines.account import TooManyBadVideos
from pipelines.dataset import iterators_ended_on_error
from train import command_line
from train.config.fields import in_flags, names_of_flags, parse_or_end, refuse_words
from train.data import mixes, open_data, training_format
from train.reporting.elements import element, folded, joined, legible, named, path_within, picture, table
from train.reporting.page import facts, section, write_page
from train.reporting.pictures import encoded, strip
from train.reporting.sections import bad_videos
from train.reporting.settings import settings, versions
from train.reporting.shown_clips import training_clips, views_of, words_of
from train.scoring.views import in_words

_MOST_FRAMES, _LARGEST, _QUALITY = 16, 512, 90  # Of a clip on the page, in pixels, of its JPEG.
_VIDEOS, _MOST_VIEWS, _VIEW_SIZE = 4, 3, 128  # Of the evaluation: videos, clips of each, pixels on the page.
_SECONDS = 0.5, 6.0  # In which a clip is played.


@iterators_ended_on_error()
def browse(config, output, count=24):
    """Writes a page of a configuration's training clips, of views of its evaluation, and of its data.

    Args:
        config: A `Config`; its `workdir` is not looked at.
        output: Path of the page.
        count: Training clips, at least 1; an epoch's are shown at most.

    Raises:
        ValueError, FileNotFoundError: As `open_data` raises.
        TooManyBadVideos, tf.errors.OpError: No video can be read.
        OSError: The page cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"Expected --output in a folder that exists. Received {os.fspath(output)!r}. "
            f"Try: mkdir -p {folder}"
        )
    # A service makes the same clips, and bad videos are what one wants to see here.
    config = dataclasses.replace(config, data_service="", max_bad_fraction=1.0)
    data = open_data(config)
    try:
        clips = training_clips(config, data, count, data.accounts["train"])
        views = _evaluation(config, data)
        children = [
            _headline(config, data, clips),
            _training(config, data, clips),
            views,
            _classes(data),
            _skipped(data),
            settings(config),
            versions(),
        ]
    finally:
        data.close()
    title, words = "What the network sees", " Let the clips stand still, frame by frame"
    switch = element("input", type="checkbox", id="still")  # It stands before all that it stops.
    label = element("label", words, for_="still")
    write_page(output, title, element("h1", title), switch, label, element("main", *children))


def _headline(config, data, clips):
    spans = [clip.seconds.max() - clip.seconds.min() for clip in clips]
    counts = [clip.frames for clip in clips]
    per_step = f"{data.schedule.steps_per_epoch:,} steps an epoch, {config.batch_size} clips a step"
    sampled = f"of {_range(counts, '{:.0f}')} in a video"
    return facts(
        ("training videos", f"{len(data.train.manifest):,}", per_step),
        (
            "validation videos",
            f"{len(data.val.manifest):,}",
            in_words(config)[0],
        ),
        ("classes", len(data.classes), ""),
        ("frames of a clip", config.clip_frames, sampled),
        ("a clip spans", f"{_range(spans, '{:.1f}')} s", f"{config.sampling} sampling"),
        (
            "pixels",
            f"{config.crop} x {config.crop}",
            f"{config.test_short_side or config.test_size} at the short side in evaluation",
        ),
    )


def _range(values, form):
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def _training(config, data, clips):
    words = f"The first {len(clips)} clips, cropped and augmented, in the pixels that the network gets."
    if (frames := training_format(config).frames) > _MOST_FRAMES:
        words += f" {_MOST_FRAMES} of their {frames} frames are shown, evenly spaced."
    if mixes(config):
        words += (
            " Clips are mixed with others of their batch; each has the labels of both, with their weights."
        )
    cards = []
    for clip in clips:
        words_beneath, (first, last) = words_of(clip, data.classes), (clip.seconds.min(), clip.seconds.max())
        path = named(path_within(clip.path, config.data_dir), 80)
        origin = joined(path, f", {first:.2f} to {last:.2f} s, {clip.frames} frames")
        alt = f"Frames of a clip: {legible(words_beneath)}"
        shown = _played(clip.pixels, last - first, alt, _LARGEST, subsampling=0)
        label = element("p", element("b", named(words_beneath.replace(" %", "\N{NBSP}%"), 120)))
        cards.append(element("article", shown, label, element("p", origin, class_="soft")))
    return section(
        "Training clips", element("p", words, class_="soft"), element("div", *cards, class_="cards clips")
    )


def _played(pixels, seconds, alt, largest, **options):
    """Returns a clip that the page plays as long as it lasted; its frames are one picture, side by side."""
    frames = min(len(pixels), _MOST_FRAMES)
    lasts = min(max(seconds * frames / max(1, frames - 1), _SECONDS[0]), _SECONDS[1])
    jpeg = encoded(strip(pixels, _MOST_FRAMES, largest), "jpeg", quality=_QUALITY, **options)
    style = f"--frames: {frames}; --seconds: {lasts:.2f}s"
    return element("div", picture(jpeg, "jpeg", alt), class_="clip", style=style, tabindex="0")


def _evaluation(config, data):
    """Returns the views of some validation videos, of different classes as far as there are such."""
    videos = enumerate(data.val.manifest.videos)
    first_of = {video.labels: row for row, video in reversed(list(videos))}
    parts = [_views(config, data, row) for row in sorted(first_of.values())[:_VIDEOS]]
    views, pooled = in_words(config)
    words = f"A video's scores are {pooled} over {views}."
    return section("Views of evaluation", element("p", words, class_="soft"), *parts)


def _views(config, data, row):
    """Returns some views of a validation video, and enters it in its account if it cannot be read."""
    video, clips, crops = data.val.manifest.videos[row], config.test_clips, config.test_crops
    names = ", ".join(data.classes[label.number] for label in video.labels)
    heading = element("h3", named(names, 120))
    path = element("p", named(path_within(video.path, config.data_dir), 80), class_="soft")
    views = views_of(config, data.val, row, data.accounts["val"])
    if views is None:
        reason = data.accounts["val"].reasons()[video.path]
        return joined(heading, path, element("p", f"It cannot be read: {legible(reason)}."))
    cards = []
    for clip in np.unique(np.linspace(0, clips - 1, _MOST_VIEWS).round().astype(int)).tolist():
        for crop in range(crops):
            shown = _played(views[clip * crops + crop], 1.5, "Frames of a view", _VIEW_SIZE)
            words = f"clip {clip + 1} of {clips}, crop {crop + 1} of {crops}"
            cards.append(element("article", shown, element("p", words, class_="soft")))
    return joined(heading, path, element("div", *cards, class_="cards small"))


def _classes(data):
    counts = [
        collections.Counter(label.number for video in source.manifest.videos for label in video.labels)
        for source in (data.train, data.val)
    ]
    rows = [
        [named(name), *(element("span", of[k], class_=False if of[k] else "bad") for of in counts)]
        for k, name in enumerate(data.classes)
    ]
    lacking = sum(not (counts[0][k] and counts[1][k]) for k in range(len(rows)))
    words = f"{lacking} classes have no training or no validation video." if lacking else ""
    shown = table(["class", "training videos", "validation videos"], rows, numbers=(1, 2))
    shown = folded(f"All {len(rows)} classes", shown) if len(rows) > 40 else shown
    return section("Classes", *([element("p", words, class_="missing")] if words else []), shown)


def _skipped(data):
    words = "What was known to be bad, or was found so for this page. The other videos were not opened."
    splits = {"training": data.accounts["train"], "validation": data.accounts["val"]}
    bad = [bad_videos(split, list(account.reasons().items())) for split, account in splits.items()]
    return section("What was skipped", element("p", words, class_="soft"), *bad)


def main(argv, flag_values=flags.FLAGS):
    """Writes the page and prints where it is, or ends with the reason why there is none."""
    command_line.print_warnings_alone()
    try:
        refuse_words(argv)
        needed = ("data_dir", "train_annotations", "val_annotations")
        config = command_line.config_from_flags(flag_values, needed)
        browse(config, flag_values.output, flag_values.clips)
    except (ValueError, OSError, TooManyBadVideos) as error:
        sys.exit(f"error: {in_flags(error, names_of_flags(flag_values))}")
    except tf.errors.OpError as error:
        if found := re.search(r"TooManyBadVideos: (.*)", str(error)):
            sys.exit(f"error: {found[1]}")
        raise
    print(f"wrote {flag_values.output}")


if __name__ == "__main__":
    flags.DEFINE_string("output", "browse.html", "the page to write")
    flags.DEFINE_integer("clips", 24, "how many training clips to show", lower_bound=1)
    command_line.define_flags()
    flags.adopt_module_key_flags(command_line)  # Then --help lists them.
    app.run(main, flags_parser=parse_or_end)
