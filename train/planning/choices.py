"""The values of a run's flags that suit a folder of videos, a machine and the weights to start from."""

import math
import statistics
from typing import NamedTuple

AS_WEIGHTS = "as the weights have it"
_STEPS = {True: 240, False: 400}  # With weights, and without.
_LEAST_EPOCHS, _MOST_EPOCHS = 8, 60
_SIDES = (64, 80, 96, 112, 128, 160, 192, 224)  # Of clips, in pixels.
_LONG = 15.0  # Seconds, from which on a video may show more than its class.


class Facts(NamedTuple):
    """What the choices depend on.

    Attributes:
        train, val: The counts of videos.
        seconds: The median length of the videos, 0 if it is not known.
        gpus: The count of GPUs.
        weights: {field of `Config`: value} of the network to start from and of its clips, or None.
    """

    train: int
    val: int
    seconds: float
    gpus: int
    weights: dict | None


class Cost(NamedTuple):
    """Seconds of a clip's training, by the side s of the clip: fixed + growing * s * s; and of other things.

    Attributes:
        fixed: Seconds that do not depend on the side, decoding above all.
        growing: Seconds for each square pixel of a side.
    """

    fixed: float
    growing: float

    def clip(self, side):
        """Returns the seconds that a training clip takes."""
        return self.fixed + self.growing * side**2

    def view(self, side):
        """Returns the seconds that a view takes in evaluation: a third, as nothing goes backwards."""
        return self.fixed + self.growing * side**2 / 3


def seconds_of_videos(manifest):
    """Returns the median length of the videos of a checked manifest, or 0."""
    checks = [video.check for video in manifest.videos if video.check and video.check.fps]
    return statistics.median(check.frames / check.fps for check in checks) if checks else 0.0


def first_choices(facts, given):
    """Returns {field: (value, why)} of what does not depend on time.

    Args:
        facts: `Facts`.
        given: {field: value} that a person gave; they are not chosen, and others follow them.
    """
    has_weights = facts.weights is not None
    found = {}

    def choose(name, value, why):
        if name not in given:
            found[name] = value, why

    for name, value in (facts.weights or {}).items():
        choose(name, value, AS_WEIGHTS if name != "adapt" else "by what the network differs from its weights")
    if not has_weights:
        choose("depth", 18, "a small network, as it has to learn all from these videos")
        choose("blocks", ("res3_1", "res4_1"), "two attention blocks, as there are few residual ones")
    if "sampling" not in found:
        is_long = facts.seconds > _LONG or given.get("consensus_clips", 1) > 1
        why = (
            f"a clip is a part of a video, which has {facts.seconds:.0f} s"
            if is_long
            else ("a clip goes over the whole of a short video")
        )
        choose("sampling", "dense" if is_long else "segments", why)
    choose("flip", False, "left may not be right; --flip also shows mirrored clips")
    devices = max(1, facts.gpus)
    most = 32 * devices if facts.gpus else 8
    batch = max(2, min(most, facts.train // 10)) // devices * devices or devices
    choose("batch_size", batch, "a tenth of the training videos" if batch < most else "as many as pay here")
    batch = given.get("batch_size", batch)
    steps = max(1, facts.train // batch)
    epochs = min(_MOST_EPOCHS, max(_LEAST_EPOCHS, round(_STEPS[has_weights] / steps)))
    why = f"{epochs * steps} steps, {steps} an epoch"
    if last := given.get("steps"):
        epochs, why = -(-last // steps), f"those of --steps={last}, {steps} an epoch"
    choose("epochs", epochs, why)
    if has_weights:
        choose("learning_rate", 0.0005 * math.sqrt(batch), "small steps from good weights")
        choose("rates", ("fc=10",), "larger ones for the classifier, which begins anew")
        if batch < 16 and not (given.get("partial_batch_norm") or given.get("precise_batch_norm")):
            choose("frozen_batch_norm", True, "the statistics of the weights, as a batch has few clips")
    else:
        choose("learning_rate", 0.0025 * math.sqrt(batch), "it grows with the root of the batch")
    choose("keep_epoch", "best", "few videos make the last one a matter of luck")
    choose("test_crops", 3 if facts.gpus else 1, "views of a video in the evaluation")
    choose("test_clips", 5 if facts.gpus else 2, "views of a video in the evaluation")
    return found


def choices_by_time(facts, values, given, cost, minutes):
    """Returns {field: (value, why)} of what depends on time: the clips' size, and fewer epochs if need be.

    Args:
        facts: `Facts`.
        values: {field: value} of the run until now.
        given: As for `first_choices`.
        cost: `Cost` of the network on this machine, or None for the largest clips.
        minutes: What training and evaluation may take.
    """
    found, most = {}, values["crop"] if facts.weights and "crop" in facts.weights else _SIDES[-1]
    sides = [side for side in _SIDES if side < most] + [most]
    side = given.get("crop", sides[-1])
    if cost is not None and "crop" not in given:
        fits = [s for s in sides if seconds_of_run(facts, values, cost, s) <= 60 * minutes]
        side = fits[-1] if fits else sides[0]
    if "crop" not in given:
        why = f"the largest that fits into {minutes:.0f} minutes" if side < most else "what such weights see"
        found["crop"] = side, why
    ratio = values["short_side"] / values["crop"] if facts.weights and "crop" in facts.weights else 8 / 7
    for name, value in (("short_side", round(side * ratio)), ("test_size", side)):
        if name not in given:
            found[name] = value, "goes with --crop"
    if cost is not None and not {"epochs", "steps"} & given.keys():
        epochs = values["epochs"]
        while epochs > _LEAST_EPOCHS and (
            seconds_of_run(facts, values | {"epochs": epochs}, cost, side) > 60 * minutes
        ):
            epochs -= 1
        if epochs < values["epochs"]:
            found["epochs"] = epochs, f"what fits into {minutes:.0f} minutes; more would help"
    return found


def seconds_of_run(facts, values, cost, side):
    """Returns the seconds that training, validation and evaluation take."""
    per_epoch = facts.train * cost.clip(side) + facts.val * cost.view(side)
    views = values["test_clips"] * values["test_crops"]
    return values["epochs"] * per_epoch + facts.val * views * cost.view(side)
