"""The constraints between the fields of a configuration."""

import itertools
import math

from train.config.fields import Relation
from train.config.parts import RELATIONS as OF_PARTS

RELATIONS = (
    Relation(
        "stride",
        lambda c: c.sampling == "dense" or c.stride == 0,
        "0 with --sampling={0.sampling}, which has no stride",
        lambda c: 0,
    ),
    Relation(
        "temporal",
        lambda c: c.temporal != "tsm" or c.clip_frames > 1,
        "one without a shift for --clip_frames=1, as it puts zeros in the place of frames that are not there",
        lambda c: "c2d",
    ),
    Relation(
        "window_frames",
        lambda c: c.sampling != "dense" or c.window_frames >= _span(c),
        "at least --clip_frames={0.clip_frames}, and (clip_frames - 1) * stride + 1 with --stride={0.stride}",
        lambda c: _span(c),
    ),
    Relation(
        "test_starts",
        lambda c: c.test_starts == "even" or (c.sampling == "dense" and _wraps(c)),
        "even with --sampling=segments; fair only with --short_videos=loop, as its clips run past the end of "
        "every video and begin again there",
        lambda c: "even",
    ),
    Relation(
        "test_short_side",
        lambda c: c.test_short_side == 0 or c.test_short_side >= c.test_size,
        "0 or at least --test_size={0.test_size}",
        lambda c: c.test_size,
    ),
    Relation(
        "test_crops",
        lambda c: c.test_crops == _CROPS.get(c.test_crop_places, c.test_crops),
        "1 with --test_crop_places=whole and 3 with thirds",
        lambda c: _CROPS[c.test_crop_places],
    ),
    Relation(
        "short_side",
        lambda c: c.short_side == 0 or c.short_side >= c.crop,
        "0 or at least --crop={0.crop}",
        lambda c: c.crop,
    ),
    Relation(
        "jitter_sides",
        lambda c: (
            c.crop_method != "scale_jitter"
            or (len(c.jitter_sides) == 2 and c.crop <= c.jitter_sides[0] <= c.jitter_sides[1])
        ),
        "two rising lengths of at least --crop={0.crop}",
        lambda c: (c.crop, c.crop * 5 // 4),
    ),
    Relation(
        "crop_method",
        lambda c: c.crop_method == "random_resized" or c.crop_area == (0.08, 1.25),
        "random_resized beside --crop_area, which no other crop has",
        lambda c: "random_resized",
    ),
    Relation(
        "batch_size",
        lambda c: c.batch_size % c.repeats == 0,
        "a multiple of --repeats={0.repeats}",
        lambda c: -(-c.batch_size // c.repeats) * c.repeats,
    ),
    Relation(
        "accumulation",
        lambda c: c.batch_size % c.accumulation == 0,
        "a divisor of --batch_size={0.batch_size}",
        lambda c: max(n for n in range(1, c.accumulation + 1) if c.batch_size % n == 0),
    ),
    Relation(
        "nan_policy",
        lambda c: c.nan_policy == "stop" or not c.data_service,
        "stop with --data_service, whose batches have no fixed order",
        lambda c: "stop",
    ),
    Relation(
        "beta2",
        lambda c: c.beta2 == 0.999 or c.optimizer == "adamw",
        "0.999 with --optimizer=sgd, which has none",
        lambda c: 0.999,
    ),
    Relation(
        "nesterov",
        lambda c: not c.nesterov or c.optimizer == "sgd",
        "False with --optimizer=adamw",
        lambda c: False,
    ),
    Relation(
        "warmup_steps",
        lambda c: c.steps == 0 or c.warmup_steps < c.steps,
        "less than --steps={0.steps}",
        lambda c: c.steps // 10,
    ),
    Relation(
        "warmup_epochs",
        lambda c: c.warmup_epochs == 0 or c.warmup_steps == 0,
        "0 beside --warmup_steps={0.warmup_steps}",
        lambda c: 0.0,
    ),
    Relation(
        "warmup_epochs",
        lambda c: c.steps > 0 or c.warmup_epochs < c.epochs,
        "less than --epochs={0.epochs}",
        lambda c: c.epochs / 10,
    ),
    Relation(
        "cosine_after_warmup",
        lambda c: c.cosine_after_warmup or c.schedule == "cosine",
        "True with --schedule={0.schedule}",
        lambda c: True,
    ),
    Relation(
        "warmup_to",
        lambda c: c.warmup_to == "peak" or not c.cosine_after_warmup,
        "peak without --nocosine_after_warmup, where both are the same",
        lambda c: "peak",
    ),
    Relation(
        "decay_steps",
        lambda c: (
            c.schedule == "steps" and _rise(c.decay_steps, c.steps or math.inf)
            if c.decay_steps
            else c.schedule != "steps" or c.steps == 0 or bool(c.decay_epochs)
        ),
        "rising numbers, below --steps where that is given, with --schedule=steps, and none with others",
        lambda c: (c.steps // 2 or 1000,) if c.schedule == "steps" else (),
    ),
    Relation(
        "decay_epochs",
        lambda c: bool(c.decay_epochs) == (c.schedule == "steps" and not c.decay_steps),
        "some with --schedule=steps, unless there are --decay_steps, and none with other schedules",
        lambda c: () if c.schedule != "steps" or c.decay_steps else (c.epochs / 2,),
    ),
    Relation(
        "decay_epochs",
        lambda c: not c.decay_epochs or _rise(c.decay_epochs, math.inf if c.steps else c.epochs),
        "rising numbers below --epochs={0.epochs}",
        lambda c: (c.epochs / 2,),
    ),
    Relation(
        "partial_batch_norm",
        lambda c: not (c.partial_batch_norm and c.frozen_batch_norm),
        "False beside --frozen_batch_norm",
        lambda c: False,
    ),
    Relation(
        "precise_batch_norm",
        lambda c: not (c.precise_batch_norm and c.frozen_batch_norm),
        "0 beside --frozen_batch_norm",
        lambda c: 0,
    ),
    Relation(
        "consensus_clips",
        lambda c: c.consensus_clips == 1 or c.sampling == "dense",
        "1 with --sampling={0.sampling}, whose clips span the video",
        lambda c: 1,
    ),
    *OF_PARTS,
)


_CROPS = {"whole": 1, "thirds": 3}


def _span(config):
    """Returns the frames from the first one of a dense clip to its last one, both included."""
    return (config.clip_frames - 1) * max(config.stride, 1) + 1


def _wraps(config):
    return config.test_starts != "fair" or config.short_videos == "loop"


def _rise(numbers, end):
    return all(before < after for before, after in itertools.pairwise((0, *numbers, end)))
