"""Classifies any video files with a trained model.

python -m train.predict --workdir=RUN --video=FILE_OR_FOLDER [--video=...] [--top=5] [--json=FILE]

Of a folder, all videos in it and below it are taken; a folder that holds images and no video is a video of
these frames, but for a network of one frame each image is a video. The status is 0 if all were classified, 2
if some could not be read, and 1 if none was.
"""

import csv
import io
import json
import logging
import os
import sys

import numpy as np
from absl import app, flags

from pipelines.account import Account, TooManyBadVideos
from pipelines.manifest import Manifest, Video
from pipelines.manifest.annotations.data_dir import IMAGE_SUFFIXES, is_media
from pipelines.video_files import VideoFiles
from train.command_line import define_flags, print_warnings_alone
from train.config.fields import in_flags, names_of_flags, parse_or_end, refuse_words
from train.data import decoder
from train.loop.workdir import write_text
from train.scoring.measures import LOG_PROBABILITIES
from train.scoring.trained import evaluation_config, read_trained, scores_of

_BAR_WIDTH = 30


def predict(paths, trained, verbose=False):
    """Classifies videos.

    Each is sampled, cropped and averaged as in evaluation: a video of a split gets its row in the scores.

    Args:
        paths: Videos, images, or folders of images, see `pipelines.decoding.decode.decode_frames`.
        trained: A `train.scoring.trained.Trained`.
        verbose: Whether to show progress.

    Returns:
        (rankings, bad): {path: [(class name, probability), ...]}, the likeliest class first, and
        {path: why it cannot be read}; both in the order of `paths`.

    Raises:
        FloatingPointError: A score is infinite or NaN.
    """
    paths = list(dict.fromkeys(map(os.fspath, paths)))
    manifest = Manifest(tuple(Video(path, ()) for path in paths), trained.classes)
    account = Account(manifest, max_bad_fraction=None)
    try:
        with decoder(trained.config) as decode:
            source = VideoFiles(manifest, decode, trained.config.fps)
            scores = scores_of(trained, source, account, verbose)
        probabilities = np.exp(LOG_PROBABILITIES[trained.config.activation](scores.logits))
        found = dict(zip(scores.paths, probabilities, strict=True))
    except TooManyBadVideos:  # All of them are.
        found = {}
    reasons = account.reasons()
    rankings = {path: _ranking(found[path], trained.classes) for path in paths if path in found}
    return rankings, {path: reasons[path] for path in paths if path not in found}


def _ranking(probabilities, classes):
    order = np.argsort(-probabilities, kind="stable")
    return [(classes[label], float(probabilities[label])) for label in order]


def find_videos(paths):
    """Returns the paths of videos, with what is in and below a folder in its place, sorted by name.

    Names that begin with a full stop are passed over.

    Raises:
        ValueError: A folder holds no videos.
    """
    found = []
    for path in paths:
        inside = [path] if not os.path.isdir(path) else list(_below(path))
        if not inside:
            raise ValueError(
                f"Expected videos in {path!r}, or below it. Received a folder without any, by the names of "
                "its files. Try: --video=FILE for each file that has another ending than a video."
            )
        found += inside
    return found


def _below(folder):
    """Yields the videos in and below a folder."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        media = sorted(name for name in files if is_media(name) and not name.startswith("."))
        videos = [name for name in media if not name.lower().endswith(IMAGE_SUFFIXES)]
        yield from (os.path.join(place, name) for name in videos)
        if media and not videos:
            yield place


def images_apart(paths):
    """Returns paths of videos and of folders of images, with the images of a folder in its place."""
    found = []
    for path in paths:
        names = sorted(os.listdir(path)) if os.path.isdir(path) else ()
        images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "."]
        found += [os.path.join(path, name) for name in images] or [path]
    return found


def bars(ranking, top):
    """Returns a line with a bar for each of the first `top` classes of a ranking.

    >>> print(bars([("growing", 0.75), ("shrinking", 0.25)], top=2))
    growing     75.0 %  ██████████████████████▌
    shrinking   25.0 %  ███████▌
    """
    width = max(len(name) for name, _ in ranking[:top])
    lines = []
    for name, probability in ranking[:top]:
        eighths = round(probability * _BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        lines.append(f"{name:<{width}} {probability:6.1%}".replace("%", " %") + f"  {bar}".rstrip())
    return "\n".join(lines)


def as_json(rankings, bad, top):
    """Returns JSON: {"videos": {path: [{"class": name, "probability": p}, ...]}, "bad": {path: reason}}."""
    videos = {
        path: [{"class": name, "probability": probability} for name, probability in ranking[:top]]
        for path, ranking in rankings.items()
    }
    return json.dumps({"videos": videos, "bad": bad}, indent=2) + "\n"


def as_csv(rankings, top):
    """Returns rankings as CSV, a line for each of the first `top` classes: path,rank,class,probability."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("path", "rank", "class", "probability"))
    for path, ranking in rankings.items():
        writer.writerows((path, rank, *place) for rank, place in enumerate(ranking[:top], 1))
    return file.getvalue()


def main(argv, flag_values=flags.FLAGS):
    """Prints the ranking of the classes for each video, or ends with the reason why there is none."""
    print_warnings_alone()
    logging.getLogger("pipelines.account").setLevel(logging.ERROR)  # Bad files are named in the end.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # Names of files need not be UTF-8.
    try:
        refuse_words(argv)
        paths, config = find_videos(flag_values.video), evaluation_config(flag_values, ("workdir",))
        if config.clip_frames == 1:
            paths = images_apart(paths)
        trained = read_trained(config, flag_values.savedmodel)
        rankings, bad = predict(paths, trained, verbose=len(paths) > 1)
        _write(flag_values, rankings, bad, single=len(paths) == 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {in_flags(error, names_of_flags(flag_values))}")
    for path, reason in bad.items():
        print(f"error: {path}: {reason}", file=sys.stderr)
    if bad:
        sys.exit(2 if rankings else 1)


def _write(flag_values, rankings, bad, single):
    top, texts = flag_values.top, {}
    if flag_values.json:
        texts[flag_values.json] = as_json(rankings, bad, top)
    if flag_values.csv:
        texts[flag_values.csv] = as_csv(rankings, top)
    for target, text in texts.items():
        if target == "-":
            print(text, end="")
        else:
            write_text(target, text)
            print(f"wrote {target}", file=sys.stderr)
    if not texts:
        found = (
            bars(ranking, top) if single else f"{path}\n{bars(ranking, top)}\n"
            for path, ranking in rankings.items()
        )
        print(*found, sep="\n", end="\n" * bool(rankings))


def define(flag_values=flags.FLAGS):
    """Defines the flags of this program, those of a `Config` among them."""
    of = {"flag_values": flag_values}
    flags.DEFINE_multi_string("video", None, "a video file, or a folder; repeat it", required=True, **of)
    flags.DEFINE_string("savedmodel", "", "directory of a SavedModel, in the place of the run's model", **of)
    flags.DEFINE_integer("top", 5, "how many classes to print", lower_bound=1, **of)
    flags.DEFINE_string("json", "", "file to write as JSON, - for the standard output", **of)
    flags.DEFINE_string("csv", "", "file to write as CSV, - for the standard output", **of)
    define_flags(flag_values, workdir="runs/demo/run")


if __name__ == "__main__":
    define()
    app.run(main, flags_parser=parse_or_end)
