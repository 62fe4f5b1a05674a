"""The constraints between the fields of a configuration."""

import itertools

from train.config.fields import Relation
from train.config.parts import RELATIONS as OF_PARTS

RELATIONS = (
    Relation(
        "temporal",
        lambda c: c.temporal != "tsm" or c.clip_frames > 1,
        "one without a shift for --clip_frames=1, as it puts zeros in the place of frames that are not there",
        lambda c: "c2d",
    ),
    Relation(
        "window_frames",
        lambda c: c.sampling != "dense" or c.window_frames >= c.clip_frames,
        "at least --clip_frames={0.clip_frames}",
        lambda c: c.clip_frames,
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
        "warmup_epochs",
        lambda c: c.warmup_epochs < c.epochs,
        "less than --epochs={0.epochs}",
        lambda c: c.epochs / 10,
    ),
    Relation(
        "decay_epochs",
        lambda c: bool(c.decay_epochs) == (c.schedule == "steps") and _rise(c.decay_epochs, c.epochs),
        "rising numbers below --epochs={0.epochs} with --schedule=steps, and none with other schedules",
        lambda c: (c.epochs / 2,) if c.schedule == "steps" else (),
    ),
    *OF_PARTS,
)


def _rise(epochs, end):
    return all(before < after for before, after in itertools.pairwise((0, *epochs, end)))
