"""Evaluates a trained model on any split, or scores that were kept.

python -m train.evaluate --workdir=RUN [--annotations=FILE#SPLIT] [--data_dir=DIR] [--test_clips=N]
python -m train.evaluate --workdir=RUN --savedmodel=DIR
python -m train.evaluate --flagfile=FLAGS --weights=FILE --annotations=FILE#SPLIT --output=DIR
python -m train.evaluate --scores=A/scores.npz --scores=B/scores.npz --output=DIR

Several --scores are an ensemble, by the mean of the probabilities, or with --ensemble=logits of the logits.
The directory of the output is new, and appears whole or not at all. Loading a model runs what is in it.
"""

import dataclasses
import json
import os
import re
import sys

from absl import app, flags

from pipelines.account import Account, TooManyBadVideos
from savedmodels.whole_directory import whole_directory
from train.command_line import define_flags, print_warnings_alone
from train.config.fields import in_flags, names_of_flags, parse_or_end, refuse_words
from train.data import decoder, open_split
from train.loop.workdir import write_text
from train.reporting.pictures import confusion_picture
from train.scoring.evaluation import Progress, measured
from train.scoring.measures import confusion_matrix
from train.scoring.scores import Scores, ensemble, summary
from train.scoring.tables import (
    accuracies,
    class_table,
    confusions,
    in_columns,
    write_classes,
    write_confusion,
)
from train.scoring.trained import evaluation_config, read_trained, scores_of


def evaluate_model(config, annotations="", savedmodel="", verbose=True):
    """Evaluates a model on a split.

    Args:
        config: A `Config`, as `train.scoring.trained.evaluation_config` returns it.
        annotations: The split, as for `train.data.open_split`; empty for the run's validation split. Its
            classes may be some of the model's, in any order, and its videos may have several labels or none.
        savedmodel: Directory of a SavedModel, which takes the place of the run's model.
        verbose: Whether to show progress.

    Returns:
        (scores, results, account): the `Scores`; what `train.scoring.evaluation.measured` returns, with the
        `model`, the `annotations` and the account's summary as `data`; and the `Account` of the videos.

    Raises:
        FileNotFoundError: There is no finished run, no split or no SavedModel.
        ValueError: A file is damaged or of another network, or the split has other classes or no labels.
        FloatingPointError: A score is infinite or NaN.
        TooManyBadVideos: More than `config.max_bad_fraction` of the videos cannot be read.
    """
    annotations = annotations or config.val_annotations
    with decoder(config) as decode:
        source = open_split(config, annotations, decode, multi_label=True)
        trained = read_trained(config, savedmodel, source.manifest.classes)
        source.manifest = in_classes(source.manifest, trained.classes, annotations)
        if savedmodel and source.manifest.multi_label and not config.multi_label:
            raise ValueError(
                f"Expected one label a video in {annotations} for a SavedModel without --multi_label, whose "
                "probabilities do not compare videos. Received several, none, or time spans. Try: "
                "--workdir=RUN alone."
            )
        account, progress = Account(source.manifest, config.max_bad_fraction), Progress()
        scores = scores_of(trained, source, account, verbose, progress)
    about = {"model": trained.path, "annotations": annotations}
    results = about | measured(scores, config, progress.seconds) | {"data": account.summary()}
    return scores, results, account


def in_classes(manifest, classes, name):
    """Returns a manifest with its labels as places among `classes`, which hold at least its own.

    Args:
        manifest: A `Manifest`.
        classes: The names of a model's classes.
        name: What to call the manifest in an error.

    Raises:
        ValueError: Not one video has a label, or a video has one that is not among the classes.
    """
    used = {label.number for video in manifest.videos for label in video.labels}
    if not used:
        raise ValueError(
            f"Expected videos with labels in {name}. Received {len(manifest)} without. "
            "Try: python -m train.predict, which needs none."
        )
    place = {number: number for number in used}
    if manifest.classes != tuple(classes):
        known = {known: number for number, known in enumerate(classes)}
        place = {number: known.get(manifest.classes[number]) for number in used}
    lost = [manifest.classes[number] for number in sorted(used) if place[number] is None]
    if lost:
        raise ValueError(
            f"Expected labels among the {len(classes)} classes of the model, as {classes[0]!r}. Received "
            f"{len(lost)} others in {name}, first {lost[0]!r}. Try: leave their videos out, or a run that "
            "was trained on them."
        )
    videos = tuple(
        video._replace(labels=tuple(label._replace(number=place[label.number]) for label in video.labels))
        for video in manifest.videos
    )
    return dataclasses.replace(manifest, videos=videos, classes=tuple(classes), mirrored=())


def write(output, scores, results, account=None):
    """Writes an evaluation to a new directory, whole or not at all.

    In it are `results.json`, `scores.npz` (see `Scores`), `classes.csv` (see `class_table`),
    `confusion.csv` and `confusion.png` where each video has one label, and with an account
    `bad_videos.csv`.

    Raises:
        FileExistsError: The directory is there already.
    """
    with whole_directory(output) as partial:
        write_text(os.path.join(partial, "results.json"), json.dumps(results, indent=2) + "\n")
        scores.save(os.path.join(partial, "scores.npz"))
        write_classes(os.path.join(partial, "classes.csv"), scores)
        if not scores.multi_label:
            write_confusion(os.path.join(partial, "confusion.csv"), scores)
            matrix = confusion_matrix(scores.logits, scores.labels)
            with open(os.path.join(partial, "confusion.png"), "wb") as file:
                file.write(confusion_picture(matrix, scores.classes))
        if account is not None:
            account.write(os.path.join(partial, "bad_videos.csv"))


def report(scores, results):
    """Returns what is printed of an evaluation, as lines."""
    views = f", {results['clips']} clips x {results['crops']} crops" if "clips" in results else ""
    lines = []
    if scores.multi_label:
        found = f"{accuracies(results)} over {results['classes_with_videos']} classes"
        lines += [f"{found} on {results['videos']} videos{views}"]
        lines += [f"{n} videos have no label" for n in [results["videos_without_label"]] if n]
        lines += [f"loss {results['loss']:.3f} nats"]
    else:
        error = f"calibration error {results['calibration_error']:.3f}, Brier score {results['brier']:.3f}"
        lines += [
            f"{accuracies(results)} on {results['videos']} videos{views}",
            f"loss {results['loss']:.3f} nats, {error}",
        ]
    if skipped := results.get("data", {}).get("skipped"):
        lines += [f"{skipped} videos could not be read; bad_videos.csv has the reasons"]
    lines += ["", *in_columns(class_table(scores))]
    worst = [] if scores.multi_label else confusions(scores)
    return lines + ["", *worst] * bool(worst)


def default_output(workdir, annotations):
    """Returns WORKDIR/evaluation/NAME, by the name of the split, or else of its file."""
    file, _, split = annotations.partition("#")
    name = split or os.path.splitext(os.path.basename(file.rstrip("/")))[0]
    return os.path.join(workdir, "evaluation", name.replace(os.sep, "_"))


def _evaluate(values):
    """Evaluates what the flags say; returns (output directory, lines to print)."""
    if values.scores:
        _check_new(values.output)
        scores = ensemble([Scores.load(path) for path in values.scores], values.scores, values.ensemble)
        results, account = {"scores": values.scores} | summary(scores), None
    else:
        config = evaluation_config(values, ("weights", "data_dir"))
        annotations = values.annotations or config.val_annotations
        if not annotations:
            raise ValueError(
                "Expected --annotations to be a split. Received none. Try: --annotations=FILE#val."
            )
        output = values.output or (default_output(config.workdir, annotations) if config.workdir else "")
        _check_new(output)
        scores, results, account = evaluate_model(config, annotations, values.savedmodel)
    output = values.output or output
    write(output, scores, results, account)
    return output, report(scores, results)


def _check_new(output):
    """Raises an error unless an output is named that is not there yet."""
    if not output:
        raise ValueError("Expected --output to be a new directory. Received none. Try: --output=DIR.")
    if os.path.lexists(output):
        stem, number = re.fullmatch(r"(.*?)(?:-(\d+))?/*", output).groups()
        number = int(number or 1) + 1
        while os.path.lexists(f"{stem}-{number}"):
            number += 1
        raise FileExistsError(
            f"Expected a new directory for the results. Received {output}, which is there already. "
            f"Try: --output={stem}-{number}."
        )


def main(argv, flag_values=flags.FLAGS):
    """Evaluates, prints the results and says where they are, or ends with the reason why there are none."""
    print_warnings_alone()
    try:
        refuse_words(argv)
        output, lines = _evaluate(flag_values)
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError, TooManyBadVideos) as error:
        sys.exit(f"error: {in_flags(error, names_of_flags(flag_values))}")
    print("\n".join([*lines, "", f"wrote {output}"]))


def define(flag_values=flags.FLAGS):
    """Defines the flags of this program, those of a `Config` among them."""
    of = {"flag_values": flag_values}
    flags.DEFINE_string("annotations", "", "the split, by default that of --val_annotations of the run", **of)
    flags.DEFINE_string("savedmodel", "", "directory of a SavedModel, in the place of the run's model", **of)
    flags.DEFINE_multi_string("scores", [], "scores.npz to read again; repeat it for an ensemble", **of)
    text = "of what several --scores take the mean"
    flags.DEFINE_enum("ensemble", "probabilities", ["probabilities", "logits"], text, **of)
    flags.DEFINE_string("output", "", "new directory; WORKDIR/evaluation/SPLIT by default", **of)
    define_flags(flag_values)


if __name__ == "__main__":
    define()
    app.run(main, flags_parser=parse_or_end)
