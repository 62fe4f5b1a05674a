"""What a run is: one frozen dataclass, checked when it is made. Its fields are the flags of the programs."""

import dataclasses
import functools
import itertools
import math

from keras_nonlocal.architecture import DEPTHS, TEMPORAL_KINDS, TOPOLOGIES
from keras_nonlocal.moves import MOVES
from pipelines.clips import SAMPLING, SHORT
from train.fields import (
    Constraint,
    above,
    all_of,
    as_flags,
    at_least,
    check_fields,
    field_of,
    from_to_below,
    like,
    one_of,
    within,
)
from train.parts import KINDS
from train.relations import RELATIONS

_data, _network, _clips, _augment, _optimise, _keep, _evaluate = (
    functools.partial(field_of, heading)
    for heading in ("data", "network", "clips", "augmentation", "optimisation", "checkpoints", "evaluation")
)
_FRACTION = within(0, 1)


@dataclasses.dataclass(frozen=True)
class Config:
    """A run. Each field is a flag of the same name; `--help` of a program shows them with their meaning.

    The defaults follow RNL's runs on Kinetics-400 (Huang and Bors 2020), except that weights start at
    random where the paper starts from ImageNet's, that the kernel is 3x7x7 throughout, as the text has it,
    and that the released code's learning rate multipliers are left out.

    Raises:
        ValueError: A field has a value that it may not have, alone or beside the others.
    """

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

    depth: int = _network(50, "depth of the ResNet", one_of(*DEPTHS))
    temporal: str = _network("tsm", "how the network spans time", one_of(*TEMPORAL_KINDS))
    topology: str = _network(
        "",
        "where the network strides and pools, empty for what --temporal has",
        one_of("", *TOPOLOGIES),
        none=True,
    )
    groups: int = _network(
        1, "groups of the 3x3 convolutions: 32, with --group_width=4, in ResNeXt", at_least(1)
    )
    group_width: int = _network(64, "channels of a group in res2", at_least(1))
    squeeze_excite_ratio: int = _network(
        0, "reduction of the SE layer in residual blocks, 0 for no such layer", at_least(0), none=True
    )
    frozen_batch_norm: bool = _network(False, "keep batch norms to their running statistics, also in blocks")
    weights: str = _network(
        "",
        "what to start from: X.weights.h5 of train.convert, a .keras file, or the directory of a run or a "
        "preset, of the same network but for --adapt; empty for random",
        none=True,
    )
    adapt: tuple[str, ...] = _network(
        (),
        "by what the network may differ from that of --weights: "
        + "; ".join(f"{name}, {words}" for name, words in MOVES.items()),
        Constraint(lambda names: {*names} <= {*MOVES}, f"names among {', '.join(MOVES)}", tuple(MOVES)),
    )
    block: tuple[str, ...] = _network(
        ("RegionNonLocal",),
        "attention block, with its arguments as in NonLocal(scaled=True), for all places or as in "
        "res4=NonLocal for some; repeat the flag for several",
        repeated=True,
    )
    blocks: tuple[str, ...] = _network(
        ("res3_0", "res3_2", "res4_0", "res4_2", "res4_4"),
        "residual blocks, 0-based, after which an attention block stands, or a placement such as nl5",
    )
    dropout: float = _network(0.5, "fraction of features dropped at the classifier", from_to_below(0, 1))
    dtype_policy: str = _network(
        "float32", "precision of the layers", one_of("float32", "mixed_float16", "mixed_bfloat16")
    )

    clip_frames: int = _clips(8, "frames of a clip", at_least(1))
    sampling: str = _clips(
        "dense", "frames of a window, or of segments of the whole video", one_of(*SAMPLING)
    )
    window_frames: int = _clips(64, "frames of the dense window")
    short_videos: str = _clips(
        "loop",
        "how a video shorter than the window goes on: from its start, or on its last frame",
        one_of(*SHORT),
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

    batch_size: int = _optimise(64, "clips per step, over all devices", at_least(1))
    epochs: int = _optimise(50, "passes over the training videos", at_least(1))
    learning_rate: float = _optimise(0.01, "largest rate", above(0))
    base_batch_size: int = _optimise(
        0, "batch for which --learning_rate is meant: it grows with --batch_size; 0 for any", at_least(0)
    )
    schedule: str = _optimise(
        "cosine",
        "how the rate falls: as half a cosine to 0, in steps, or never",
        one_of("cosine", "steps", "constant"),
    )
    decay_epochs: tuple[float, ...] = _optimise(
        (), "epochs, or parts of them, after which --schedule=steps lets the rate drop, such as 20,40"
    )
    decay_factor: float = _optimise(0.1, "by what it multiplies the rate there", within(0, 1))
    warmup_epochs: float = _optimise(
        5.0,
        "epochs over which the rate rises linearly; a flag that is left out means a tenth of --epochs at "
        "most",
        at_least(0),
    )
    warmup_start: float = _optimise(0.1, "fraction of the rate with which the warm-up begins", _FRACTION)
    rates: tuple[str, ...] = _optimise(
        (), "multipliers of the rate for parts as in --freeze, and for biases, as in stem=0.1,fc=5,biases=2"
    )
    freeze: tuple[str, ...] = _optimise(
        (), "parts that do not train, norms included: some of stem, res2 to res5, blocks and fc"
    )
    momentum: float = _optimise(0.9, "momentum of SGD", from_to_below(0, 1))
    nesterov: bool = _optimise(False, "look ahead by the momentum, as Nesterov does")
    weight_decay: float = _optimise(
        1e-4, "what is added to the gradients, times the weights of --decayed", at_least(0)
    )
    decayed: tuple[str, ...] = _optimise(
        ("kernels",), "on what the decay acts", all_of(KINDS.__contains__, f"some of {', '.join(KINDS)}")
    )
    label_smoothing: float = _optimise(
        0.0, "part of each label that is spread evenly over all classes", from_to_below(0, 1)
    )
    clip_norm: float = _optimise(20.0, "largest norm of all gradients together, 0 for no limit", at_least(0))
    accumulation: int = _optimise(
        1, "parts into which a device cuts its clips of a batch, to take the memory of one", at_least(1)
    )
    ema: float = _optimise(
        0.0,
        "decay of the weights' moving average, such as 0.9999, which is evaluated and saved; 0 for none",
        from_to_below(0, 1),
    )
    synchronized_batch_norm: bool = _optimise(
        False, "let batch norms take their statistics over the clips of all devices, not of each"
    )
    nan_policy: str = _optimise(
        "stop",
        "what follows a loss that is NaN or explodes: stop, or rewind to the last checkpoint and show other "
        "videos in the place of that batch",
        one_of("stop", "rewind"),
    )
    seed: int = _optimise(0, "what fixes initial weights, order, clips and crops", within(0, 2**31 - 1))

    checkpoint_minutes: float = _keep(15.0, "minutes between checkpoints, 0 for none in between", at_least(0))
    checkpoint_steps: int = _keep(0, "steps between checkpoints, 0 to go by minutes alone", at_least(0))
    keep_checkpoints: int = _keep(2, "how many of the newest are kept, beside the best", at_least(1))
    keep_epoch: str = _keep(
        "last",
        "epoch whose weights are evaluated in the end and saved: last, or best in the validations' top-1",
        one_of("last", "best"),
    )
    patience_epochs: int = _keep(
        0,
        "epochs without a better top-1 in the validation after which training ends, 0 for no end",
        at_least(0),
    )
    max_minutes: float = _keep(
        0.0, "minutes of training after which it ends, over all parts of the run, 0 for no end", at_least(0)
    )

    test_clips: int = _evaluate(10, "clips along time per video", at_least(1))
    test_crops: int = _evaluate(3, "crops per clip: the centre, or three along the long side", one_of(1, 3))
    test_size: int = _evaluate(256, "side of the crops in pixels, also the short side", at_least(1))

    def __post_init__(self):
        check_fields(self, RELATIONS)

    def to_flags(self):
        """Returns the text of a flag file that gives this configuration again."""
        lines = []
        headings = itertools.groupby(dataclasses.fields(self), lambda field: field.metadata["heading"])
        for heading, fields in headings:
            lines.append(f"# {heading}")
            for field in fields:
                lines += as_flags(field, getattr(self, field.name))
        return "\n".join(lines) + "\n"
