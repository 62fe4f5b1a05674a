"""Writes the network of a finished run as a preset, a folder that `VideoResNet.from_preset` loads.

python -m train.preset --workdir=RUN --output=DIR [--card=FILE.md]
"""

import json
import os
import sys

import keras
from absl import app, flags

from keras_nonlocal.presets import save_to_preset
from savedmodels.loading import one_line, read_serving
from train.command_line import read_config
from train.config.fields import parse_or_end, refuse_words
from train.scoring.views import in_words

_MEASURED = ("videos", "top1", "top5", "mean_class_accuracy", "mAP")
_SAMPLING = ("sampling", "window_frames", "stride", "fps", "short_videos")


def preset(workdir, output, card=""):
    """Writes the network of a finished run to a new folder, with its classes and its preprocessing.

    Args:
        workdir: The directory of the run.
        output: The folder, which is made.
        card: Path of the text that becomes README.md; empty for one of the run's flags and results.

    Raises:
        ValueError: The run has not ended, or its model.keras is not the network of its flags.
        FileExistsError: `output` exists already.
        OSError: A file cannot be read or written.
    """
    config = read_config(workdir)
    path = os.path.join(workdir, "model.keras")
    remedy = "--workdir=DIR of a run that has ended"
    if not os.path.isfile(path):
        raise ValueError(
            f"Expected a run that has ended. Received {workdir!r} without model.keras. Try: {remedy}"
        )
    with one_line(path, "the sound model.keras of a run", remedy):
        model = keras.saving.load_model(path, compile=False)
    serving = read_serving(os.path.join(workdir, "serving.json"))
    labels = serving.pop("classes")
    preprocessing = serving | {name: getattr(config, name) for name in _SAMPLING}
    if card:
        with open(card, encoding="utf-8") as file:
            text = file.read()
    else:
        text = _card(config, labels, workdir)
    save_to_preset(output, model, labels, preprocessing, text)


def _card(config, labels, workdir):
    """Returns what a network is, from which data, and what was measured."""
    lines = [
        f"# ResNet-{config.depth}, {config.temporal}, {config.clip_frames} frames",
        "",
        "A network of keras_nonlocal for video classification:",
        "`keras_nonlocal.VideoResNet.from_preset` loads this folder.",
        "",
        f"It was trained on {os.path.basename(config.train_annotations)}, {len(labels)} classes.",
    ]
    path = os.path.join(workdir, "results.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
        views, pooled = in_words(config)
        lines += [
            "",
            f"Measured on {os.path.basename(config.val_annotations)}, {pooled} over {views}:",
            "",
            "| | |",
            "|---|---|",
        ]
        lines += [f"| {name} | {results[name]} |" for name in _MEASURED if name in results]
    of_network = config.to_flags().partition("# network\n")[2]  # The others name this machine's folders.
    flags_shown = [line for line in of_network.splitlines() if not line.startswith("--weights=")]
    return "\n".join([*lines, "", "The flags of its run:", "", "```", *flags_shown, "```"]) + "\n"


def main(argv):
    """Writes the preset, or ends with the reason why there is none."""
    given = flags.FLAGS
    try:
        refuse_words(argv)
        preset(given.workdir, given.output, given.card)
    except (ValueError, OSError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
    print(f"wrote {given.output}; VideoResNet.from_preset({given.output!r}) loads it")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "directory of a finished run", required=True)
    flags.DEFINE_string("output", None, "the folder to write", required=True)
    flags.DEFINE_string("card", "", "a text that becomes its README.md; empty for the flags and results")
    app.run(main, flags_parser=parse_or_end)
