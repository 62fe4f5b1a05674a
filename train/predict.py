"""Classifies any video file with a trained model.

python -m train.predict --video=FILE [--workdir=RUN] [--top=5]
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import keras_nonlocal  # noqa: F401 - It registers the layers of model.keras.
from pipelines.bad_video import BadVideo
from pipelines.dataset import video_views
from pipelines.dataset.clip_format import normalise
from pipelines.manifest import Manifest, Video
from pipelines.video_files import VideoFiles
from savedmodels.loading import one_line, read_serving
from train.command_line import read_config
from train.data import decoder, samplers, test_format
from train.fields import parse_or_end, refuse_words

_BAR_WIDTH = 30


def predict(path, workdir):
    """Returns [(class name, probability), ...] for a video, the likeliest class first.

    The video is sampled and cropped as in evaluation, and the logits of its views are averaged.

    Args:
        path: A video, an image, or a folder of images, see `pipelines.decoding.decode.decode_frames`.
        workdir: Directory of a finished run.

    Raises:
        BadVideo: The video cannot be decoded.
        FileNotFoundError: There is no finished run in `workdir`.
        ValueError: A file of the run is damaged.
    """
    config = read_config(workdir)
    model_path = os.path.join(workdir, "model.keras")
    if not os.path.isfile(model_path):
        raise FileNotFoundError(
            f"Expected a trained model at {model_path!r}. Received no such file. "
            "Try: --workdir=DIR of a run that has ended."
        )
    manifest = Manifest((Video(os.fspath(path), ()),), ())
    with decoder(config) as decode:
        ok, views, reason = video_views(
            VideoFiles(manifest, decode, config.fps),
            tf.constant(0, tf.int64),
            test_format(config),
            samplers(config)[1],
            config.test_clips,
            config.test_crops,
        )
    if not ok:
        raise BadVideo(path, reason.numpy().decode())
    views = normalise(views, config.mean, config.std)
    with one_line(model_path, "the sound model.keras of a run", "--workdir=DIR of a run that has ended"):
        model = keras.saving.load_model(model_path, compile=False)
    classes = read_serving(os.path.join(workdir, "serving.json"))["classes"]
    logits = model.predict_on_batch(views).mean(axis=0)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    return [
        (classes[label], float(probabilities[label])) for label in np.argsort(-probabilities, kind="stable")
    ]


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


def main(argv):
    """Prints the ranking of the classes, or ends with the reason why there is none."""
    try:
        refuse_words(argv)
        ranking = predict(_only(flags.FLAGS.video), flags.FLAGS.workdir)
    except (BadVideo, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(bars(ranking, flags.FLAGS.top))


def _only(videos):
    if len(videos) > 1:
        raise ValueError(
            f"Expected one --video. Received {len(videos)}: {', '.join(videos)}. Try: a command for each."
        )
    return videos[0]


if __name__ == "__main__":
    flags.DEFINE_multi_string("video", None, "the video file", required=True)
    flags.DEFINE_string("workdir", "runs/demo/run", "directory of a finished run")
    flags.DEFINE_integer("top", 5, "how many classes to print", lower_bound=1)
    app.run(main, flags_parser=parse_or_end)
