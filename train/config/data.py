"""The fields of the data and of what becomes of its frames."""

import dataclasses
import functools
import math

from pipelines.augmenting.resizing import PLACES
from pipelines.clips import SAMPLING, SHORT, STARTS
from train.config.fields import (
    Constraint,
    above,
    all_of,
    at_least,
    field_of,
    like,
    one_of,
    within,
)

_data = functools.partial(field_of, "data")
_clips = functools.partial(field_of, "clips")
_augment = functools.partial(field_of, "augmentation")
_evaluate = functools.partial(field_of, "evaluation")
_FRACTION = within(0, 1)


@dataclasses.dataclass(frozen=True)
class DataFields:
    """What is read."""

    data_dir: str = _data("", "directory of the data set")
    workdir: str = _data("", "directory for everything that the run writes; made if it is missing")
    train_annotations: str = _data(
        "",
        "training split, relative to data_dir: a manifest (FILE#SPLIT for one of its splits), a directory of "
        "records, or a CSV like that of Kinetics",
    )
    val_annotations: str = _data("", "validation split, given in the same way")
    max_bad_fraction: float = _data(0.1, "largest fraction of missing and unreadable videos", _FRACTION)
    decode_isolation: str = _data(
        "none",
        "process decodes where no file can crash or hang the run, for files of strangers",
        one_of("none", "process"),
    )
    decode_timeout: float = _data(
        60.0,
        "seconds for which a process of --decode_isolation may decode nothing; each frame gives more time",
        above(0),
    )
    decoder_megabytes: int = _data(
        570,
        "most memory for decoding a file, enough for 4K; 8K needs 1500, with 10 bits 2300",
        at_least(1),
    )
    data_service: str = _data(
        "",
        "address of a tf.data service that makes the training batches from records",
        like(r"(grpc://[^/\s]+:\d{1,5})?", "grpc://HOST:PORT, or empty"),
    )
    workers: int = _data(0, "clips made in parallel, 0 for as many as pay", at_least(0))


@dataclasses.dataclass(frozen=True)
class ClipFields:
    """The clips, and what training does to their pixels."""

    clip_frames: int = _clips(8, "frames of a clip", at_least(1))
    sampling: str = _clips(
        "dense", "frames of a window, or of segments of the whole video", one_of(*SAMPLING)
    )
    window_frames: int = _clips(64, "frames of the dense window")
    stride: int = _clips(
        0,
        "frames from one frame of a dense clip to the next, 0 for --window_frames // --clip_frames",
        at_least(0),
    )
    short_videos: str = _clips(
        "loop",
        "how a video shorter than the window goes on: from its start, or on its last frame",
        one_of(*SHORT),
    )
    consensus_clips: int = _clips(
        1,
        "clips of a video in training, from as many parts of it, whose logits are averaged before the loss",
        at_least(1),
    )
    fps: float = _clips(
        0.0, "frames a second that are sampled among, 0 for each video's own", within(0, 1000)
    )
    short_side: int = _clips(
        256, "pixels to which the short side is scaled before the training crop; 0 keeps theirs"
    )
    crop: int = _clips(224, "side of the training clips in pixels", at_least(1))
    mean: tuple[float, ...] = _clips(
        (123.675, 116.28, 103.53),
        "mean of each channel, in grey levels of 0-255",
        all_of(math.isfinite, "three numbers", 3),
    )
    std: tuple[float, ...] = _clips(
        (58.395, 57.12, 57.375),
        "standard deviation of each channel, in grey levels of 0-255",
        all_of(above(0).holds, "three numbers above 0", 3),
    )

    crop_method: str = _augment(
        "multi_scale",
        "training crop of TSN (multi_scale), FAIR (scale_jitter) or CGNL (random_resized)",
        one_of("multi_scale", "scale_jitter", "random_resized"),
    )
    crop_scales: tuple[float, ...] = _augment(
        (1.0, 0.875, 0.75, 0.66),
        "sizes of the multi_scale crop / short side",
        all_of(lambda scale: 0 < scale <= 1, "fractions in (0, 1]"),
    )
    jitter_sides: tuple[int, ...] = _augment(
        (256, 320), "range of the short side for the scale_jitter crop, in pixels"
    )
    crop_area: tuple[float, ...] = _augment(
        (0.08, 1.25),
        "range of the area of the random_resized crop / area of the frame; above 1 nothing fits, and the "
        "centre square is taken more often",
        Constraint(
            lambda area: len(area) == 2 and 0 < area[0] <= min(area[1], 1) and math.isfinite(area[1]),
            "two rising numbers above 0, the first of at most 1",
        ),
    )
    flip: bool = _augment(True, "mirror half of the training clips; refused where left is not right")
    rand_augment_layers: int = _augment(0, "operations of RandAugment on a training clip", at_least(0))
    rand_augment_magnitude: int = _augment(9, "magnitude of these operations", within(0, 30))
    colour_jitter: float = _augment(
        0.0, "range of brightness, contrast and saturation around 1, and a fourth of it of hue", _FRACTION
    )
    erasing: float = _augment(0.0, "fraction of the training clips in which a box is erased", _FRACTION)
    mixup: float = _augment(0.0, "alpha of mixup, 0 for no mixup", at_least(0))
    cutmix: float = _augment(0.0, "alpha of CutMix, 0 for no CutMix", at_least(0))
    repeats: int = _augment(
        1, "clips of each video in a batch, with crops and colours of their own", at_least(1)
    )


@dataclasses.dataclass(frozen=True)
class EvaluationFields:
    """The views by which a model is evaluated."""

    test_clips: int = _evaluate(10, "clips along time per video", at_least(1))
    test_crops: int = _evaluate(3, "crops per clip: the centre, or three along the long side", one_of(1, 3))
    test_size: int = _evaluate(256, "side of the crops in pixels", at_least(1))
    test_short_side: int = _evaluate(
        0, "pixels to which the short side is scaled before the crops, 0 for --test_size", at_least(0)
    )
    test_crop_places: str = _evaluate(
        "ends",
        "three crops at the start, middle and end of the long side (ends), or at 0, 1/3 and 2/3 of it as "
        "BAT's (thirds); or in the place of a crop the whole frame (whole)",
        one_of(*PLACES),
    )
    test_starts: str = _evaluate(
        "even",
        "starts of the dense clips: evenly spaced as TSM's (even), n j / clips as FAIR's (fair), or in the "
        "middles of equal parts as BAT's (middles)",
        one_of(*STARTS),
    )
    test_pooling: str = _evaluate(
        "logits",
        "what makes a video's score of its views: the mean of their logits or of their probabilities, or the "
        "largest probability; the last two also take the mean of probabilities over the windows of a large "
        "view that are of the size of a training clip, as FAIR's code does",
        one_of("logits", "probabilities", "max"),
    )
