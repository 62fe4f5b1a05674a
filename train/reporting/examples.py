"""The worst mistakes of a run and its surest right answers, with the frames that the network saw of them."""

import dataclasses

import numpy as np

from pipelines.manifest.rows import Video
from train.data import decoder, open_split
from train.reporting.elements import element, joined, legible, named, path_within, percent, picture
from train.reporting.page import missing, section
from train.reporting.pictures import encoded, frames_of
from train.reporting.shown_clips import views_of
from train.scoring.views import centre_view

_MISTAKES, _RIGHT = 12, 4
_FRAMES, _SIDE, _QUALITY = 8, 112, 75  # Of a strip, in pixels, of its JPEGs.


@dataclasses.dataclass(frozen=True)
class Example:
    """A classified video: its place among the scores, true and predicted class, and their probabilities."""

    place: int
    true: int
    predicted: int
    of_true: float
    of_predicted: float


def examples(scores):
    """Returns (mistakes, right ones), `Example`s.

    Mistakes are those whose true class has the lowest probability. Right ones are of different classes, each
    the one whose class has the highest probability. Of several labels the least likely one counts as the true
    class, and it was taken for the likeliest of the other classes if that is likelier; a video without labels
    is no example.
    """
    is_label = scores.labels if scores.multi_label else np.eye(len(scores.classes), dtype=bool)[scores.labels]
    probabilities, rows = scores.probabilities, np.arange(len(is_label))
    true = np.where(is_label, scores.logits, np.inf).argmin(axis=1)
    other = np.where(is_label, -np.inf, scores.logits).argmax(axis=1)
    rank = np.argsort(np.argsort(-scores.logits, axis=1, kind="stable"), axis=1)  # Of equal ones, the first.
    is_wrong = rank[rows, other] < rank[rows, true]
    predicted, of_true = np.where(is_wrong, other, true), probabilities[rows, true]
    order = np.argsort(of_true, kind="stable")
    order = order[is_label.any(axis=1)[order]]
    is_right = ~is_wrong[order]
    surest = {int(true[place]): place for place in order[is_right]}  # The last of a class counts.
    right = sorted(surest.values(), key=lambda place: -of_true[place])[:_RIGHT]

    def example(place):
        called = int(predicted[place])
        return Example(
            int(place), int(true[place]), called, float(of_true[place]), float(probabilities[place, called])
        )

    return list(map(example, order[~is_right][:_MISTAKES])), list(map(example, right))


def examples_section(run):
    """Returns the sections of the worst mistakes and of the surest right answers."""
    if run.scores is None:
        return joined()
    mistakes, right = examples(run.scores)
    views, why = _views(run, [*mistakes, *right])
    parts = [missing(f"The frames cannot be shown. {legible(why)}")] if why else []
    if not mistakes:
        parts.append(element("p", "There are none: each validation video was classified rightly."))
    words = "The videos whose true class has the lowest probability, as the network sees their centre clip."
    if run.scores.multi_label:
        words += " Of several labels, this is the least likely one; beside it the likeliest other class."
    return joined(
        section("Worst mistakes", element("p", words, class_="soft"), *parts, _cards(run, mistakes, views)),
        section("Surest right answers", _cards(run, right, views)) if right else joined(),
    )


def _cards(run, found, views):
    return element("div", *(_card(run, example, views) for example in found), class_="cards")


def _card(run, example, views):
    """Returns the frames of a video, what it is, and what it was taken for."""
    scores = run.scores
    path = path_within(scores.paths[example.place], run.config.data_dir if run.config else "")
    true, predicted = (named(scores.classes[k]) for k in (example.true, example.predicted))
    if example.true == example.predicted:
        words = element("p", element("b", true, class_="good"), f" with {percent(example.of_true)}")
    else:
        taken = element("b", predicted, class_="bad")
        words = element(
            "p",
            element("b", true),
            f" ({percent(example.of_true)}), taken for ",
            taken,
            f" ({percent(example.of_predicted)})",
        )
    frames = views.get(example.place)
    shown = joined()
    if frames is not None:
        jpegs = [
            encoded(frame, "jpeg", quality=_QUALITY, optimize=True)
            for frame in frames_of(frames[0], _FRAMES, _SIDE)
        ]
        shown = element("div", *(picture(jpeg, "jpeg", "") for jpeg in jpegs), class_="strip")
    return element("article", shown, words, element("p", named(path, 80), class_="soft"))


def _views(run, found):
    """Returns ({place among the scores: uint8 [1, T, H, W, 3]}, why there are none or "")."""
    try:
        if run.config is None:
            raise ValueError(run.problems["run.flags"])
        with decoder(run.config) as decode:
            centre = centre_view(run.config)
            source = open_split(centre, centre.val_annotations, decode)
            rows = rows_of(source.manifest.videos, run.scores)
            places = [example.place for example in found if example.place in rows]
            views = {place: views_of(centre, source, rows[place]) for place in places}
    except (
        Exception
    ) as error:  # The videos and their list may be anything, and the page has much else to say.
        return {}, str(error) or repr(error)
    lost = sum(views.get(example.place) is None for example in found)
    return (
        views,
        f"{lost} of these videos are not in the validation split any more, or unreadable." if lost else "",
    )


def rows_of(videos: tuple[Video, ...], scores):
    """Returns {place among the scores: row of the manifest}, for the videos that both have.

    Scores are in the manifest's order without the videos that could not be read, so each is looked for behind
    the one before it. No file is opened because scores name it: it has to be in the manifest, too.
    """
    rows, row = {}, 0
    at = {}
    for number, video in enumerate(videos):
        at.setdefault(video.path, []).append(number)
    for place, path in enumerate(scores.paths):
        behind = [number for number in at.get(path, ()) if number >= row]
        if behind:
            rows[place] = behind[0]
            row = behind[0] + 1
    return rows
