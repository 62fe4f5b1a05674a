"""What a run is: one frozen dataclass, checked once. The flags of the mains are made from its fields."""

import dataclasses
import math
import os
import re
import typing

from absl import flags

from keras_nonlocal import VideoResNet
from keras_nonlocal.architecture import DEPTHS, STAGE_NAMES, TEMPORAL_KINDS, TOPOLOGIES, stage_maps
from keras_nonlocal.placement import blocks_from_text
from pipelines.clips import SAMPLING, SHORT
from pipelines.dataset import ClipFormat


def _field(default, text, repeated=False):
    """A field whose flag is given several times if `repeated`, as its items may hold commas."""
    return dataclasses.field(default=default, metadata={"help": text, "repeated": repeated})


@dataclasses.dataclass(frozen=True)
class Config:
    """A run. Each field is a flag of the same name; `--help` of a main shows them with their meaning.

    The defaults follow RNL's runs on Kinetics-400 (Huang and Bors 2020), except that weights start at
    random where the paper starts from ImageNet's, that the kernel is 3x7x7 throughout, as the text has it,
    and that the released code's learning rate multipliers are left out.
    """

    data_dir: str = _field("", "directory of the data set")
    workdir: str = _field("", "directory for everything that the run writes; made if it is missing")
    train_annotations: str = _field(
        "train.csv",
        "training split, relative to data_dir: Kinetics' CSV, a manifest, or a directory of records",
    )
    val_annotations: str = _field("val.csv", "validation split, likewise")
    max_bad_fraction: float = _field(0.1, "largest fraction of missing and unreadable videos, in [0, 1]")
    decode_isolation: str = _field(
        "none", "none, or process, in which no file can crash or hang the run; for files of strangers"
    )
    data_service: str = _field(
        "", "grpc://HOST:PORT of a tf.data service that makes the training batches from records"
    )
    workers: int = _field(0, "clips made in parallel; 0 for as many as pay")

    depth: int = _field(50, "depth of the ResNet: 18, 34, 50, 101 or 152")
    temporal: str = _field("tsm", "how it spans time: tsm, c2d, i3d_3x1x1 or i3d_3x3x3")
    topology: str = _field(
        "", "where it strides and pools, such as fair_32; empty for the temporal kind's own"
    )
    groups: int = _field(1, "groups of the 3x3 convolutions; 32 with group_width=4 for ResNeXt 32x4d")
    group_width: int = _field(64, "channels of a group in res2")
    squeeze_excite_ratio: int = _field(0, "reduction of the SE layer in every residual block; 0 for none")
    frozen_batch_norm: bool = _field(False, "keep the network's batch norms to their running statistics")
    weights: str = _field(
        "", "file to start from, such as X.weights.h5 of savedmodels.convert; empty for random"
    )
    block: tuple[str, ...] = _field(
        ("RegionNonLocal",),
        "attention block, with its arguments as in NonLocal(scaled=True), for all places or as in "
        "res4=NonLocal for some; repeat the flag for several",
        repeated=True,
    )
    blocks: tuple[str, ...] = _field(
        ("res3_0", "res3_2", "res4_0", "res4_2", "res4_4"),
        "residual blocks after which it stands, 0-based, or a placement such as nl5",
    )
    dropout: float = _field(0.5, "fraction of the features dropped before the classifier, in [0, 1)")
    dtype_policy: str = _field("float32", "float32, mixed_float16 or mixed_bfloat16")

    clip_frames: int = _field(8, "frames of a clip")
    sampling: str = _field("dense", "dense (a window) or segments (the whole video)")
    window_frames: int = _field(64, "frames of the dense window")
    short_videos: str = _field(
        "loop", "what a video shorter than the window does: loop, or hold its last frame"
    )
    fps: float = _field(0.0, "frames a second among which clips are sampled; 0 for each video's own")
    short_side: int = _field(
        256, "pixels to which the short side is scaled before the training crop; 0, or records, keep theirs"
    )
    crop: int = _field(224, "side of the training clips in pixels")
    crop_method: str = _field(
        "multi_scale", "training crop: multi_scale (TSN), scale_jitter (FAIR) or random_resized (CGNL)"
    )
    crop_scales: tuple[float, ...] = _field(
        (1.0, 0.875, 0.75, 0.66), "sizes of the multi_scale crop / short side"
    )
    jitter_sides: tuple[int, ...] = _field((256, 320), "range of the short side for the scale_jitter crop")
    flip: bool = _field(True, "mirror half of the training clips; refused where left is not right")
    rand_augment_layers: int = _field(0, "operations of RandAugment on each training clip")
    rand_augment_magnitude: int = _field(9, "their magnitude, 0 to 30")
    colour_jitter: float = _field(
        0.0, "range of brightness, contrast and saturation around 1, and a fourth of it of hue, in [0, 1]"
    )
    erasing: float = _field(0.0, "fraction of the training clips in which a box is erased, in [0, 1]")
    mixup: float = _field(0.0, "alpha of mixup; 0 for none")
    cutmix: float = _field(0.0, "alpha of CutMix; 0 for none")
    repeats: int = _field(1, "clips of each video in a batch, with crops and colours of their own")
    mean: tuple[float, ...] = _field((123.675, 116.28, 103.53), "channel means, in grey levels of 0-255")
    std: tuple[float, ...] = _field((58.395, 57.12, 57.375), "channel deviations, in grey levels of 0-255")

    batch_size: int = _field(64, "clips per step, over all devices")
    epochs: int = _field(50, "passes over the training videos")
    learning_rate: float = _field(0.01, "peak of the cosine schedule")
    warmup_epochs: float = _field(5.0, "epochs over which the rate rises linearly from a tenth of its peak")
    momentum: float = _field(0.9, "momentum of SGD, in [0, 1)")
    weight_decay: float = _field(1e-4, "added to the gradients, times the weights; not for biases and norms")
    clip_norm: float = _field(20.0, "largest norm of all gradients together")
    seed: int = _field(0, "fixes initial weights, order, clips and crops")

    test_clips: int = _field(10, "clips along time per video at evaluation")
    test_crops: int = _field(3, "crops per clip at evaluation: 1 (centre) or 3 (along the long side)")
    test_size: int = _field(256, "side of the crops at evaluation in pixels, also the short side")

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            finite = all(math.isfinite(part) for part in numbers if isinstance(part, float))
            self._expect(name, finite, "finite")
        self._expect("depth", self.depth in DEPTHS, f"one of {', '.join(map(str, DEPTHS))}")
        for name in (
            "clip_frames",
            "crop",
            "repeats",
            "batch_size",
            "epochs",
            "test_clips",
            "test_size",
        ):
            self._expect(name, getattr(self, name) >= 1, "at least 1")
        self._expect("max_bad_fraction", 0 <= self.max_bad_fraction <= 1, "a fraction in [0, 1]")
        self._expect("temporal", self.temporal in TEMPORAL_KINDS, f"one of {', '.join(TEMPORAL_KINDS)}")
        self._expect(
            "topology", self.topology in ("", *TOPOLOGIES), f"empty or one of {', '.join(TOPOLOGIES)}"
        )
        self._expect("squeeze_excite_ratio", self.squeeze_excite_ratio >= 0, "at least 0")
        for name, choices in _CHOICES.items():
            self._expect(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        self._check_clips()
        self._expect("mean", len(self.mean) == 3, "three numbers")
        self._expect("std", len(self.std) == 3 and min(self.std) > 0, "three numbers above 0")
        self._expect("learning_rate", self.learning_rate > 0, "above 0")
        self._expect("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, f"in [0, epochs={self.epochs})")
        for name in ("momentum", "dropout"):
            self._expect(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        self._expect("weight_decay", self.weight_decay >= 0, "at least 0")
        self._expect("clip_norm", self.clip_norm > 0, "above 0")
        self._expect("seed", 0 <= self.seed < 2**31, "in [0, 2^31)")
        self._expect("test_crops", self.test_crops in (1, 3), "1 or 3")
        self._check_blocks()

    def _check_clips(self):
        self._expect("workers", self.workers >= 0, "at least 0")
        service = re.fullmatch(r"(grpc://[^/\s]+:\d{1,5})?", self.data_service)
        self._expect("data_service", service, "grpc://HOST:PORT, or empty")
        if self.sampling == "dense":
            enough = self.window_frames >= self.clip_frames
            self._expect("window_frames", enough, f"at least clip_frames={self.clip_frames}")
        self._expect("fps", 0 <= self.fps <= 1000, "in [0, 1000]")
        fits = self.short_side == 0 or self.short_side >= self.crop
        self._expect("short_side", fits, f"0 or at least crop={self.crop}")
        scales, sides = self.crop_scales, self.jitter_sides
        self._expect("crop_scales", bool(scales) and all(0 < s <= 1 for s in scales), "fractions in (0, 1]")
        rising = len(sides) == 2 and self.crop <= sides[0] <= sides[1]
        if self.crop_method == "scale_jitter":
            self._expect("jitter_sides", rising, f"two rising lengths of at least crop={self.crop}")
        self._expect("rand_augment_layers", self.rand_augment_layers >= 0, "at least 0")
        self._expect("rand_augment_magnitude", 0 <= self.rand_augment_magnitude <= 30, "in [0, 30]")
        for name in ("colour_jitter", "erasing"):
            self._expect(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("mixup", "cutmix"):
            self._expect(name, getattr(self, name) >= 0, "at least 0")
        self._expect(
            "batch_size", self.batch_size % self.repeats == 0, f"a multiple of repeats={self.repeats}"
        )

    def _check_blocks(self):
        """Build each block for each map that it will meet: what it refuses, it refuses before the run."""
        try:
            makers = self.block_makers()
        except ValueError as error:
            raise ValueError(f"--block and --blocks: {error}") from None
        counts = dict(zip(STAGE_NAMES, DEPTHS[self.depth].block_counts, strict=True))
        outside = [stage for stage, indices in makers.items() if max(indices) >= counts[stage]]
        self._expect("blocks", not outside, f"places in a ResNet-{self.depth}, of {counts} blocks")
        topology = TOPOLOGIES[self.topology or TEMPORAL_KINDS[self.temporal].topology]
        for name in ("crop", "test_size"):
            side = getattr(self, name)
            maps = stage_maps(DEPTHS[self.depth], topology, self.clip_frames, side, side)
            for stage, indices in makers.items():
                for make in set(indices.values()):
                    try:
                        make(name=stage).build((None, *maps[stage]))
                    except ValueError as error:
                        raise ValueError(f"--block refuses the map of --{name}={side}: {error}") from None

    def _expect(self, name, fulfilled, expected):
        if not fulfilled:
            raise ValueError(
                f"Expected --{name} to be {expected}. Received {getattr(self, name)!r}. "
                f"Try: the default, {_defaults()[name]!r}, or see --help."
            )

    def training_format(self):
        """Returns the `ClipFormat` of the training clips."""
        return ClipFormat(self.clip_frames, self.crop, self.mean, self.std)

    def test_format(self):
        """Returns the `ClipFormat` of evaluation, prediction and serving."""
        return ClipFormat(self.clip_frames, self.test_size, self.mean, self.std)

    def mixes(self):
        """Returns whether training clips are mixed, so that their labels are vectors."""
        return self.mixup > 0 or self.cutmix > 0

    def block_makers(self):
        """Returns `blocks` and `block` as `VideoResNet` takes them: {"res3": {0: make, ...}, ...}."""
        return blocks_from_text(self.blocks, self.block, self.depth)

    def build_network(self, num_classes):
        """Returns the network, for clips of any height and width."""
        return VideoResNet(
            depth=self.depth,
            temporal=self.temporal,
            topology=self.topology or None,
            groups=self.groups,
            group_width=self.group_width,
            squeeze_excite_ratio=self.squeeze_excite_ratio or None,
            frozen_batch_norm=self.frozen_batch_norm,
            weights=self.weights or None,
            blocks=self.block_makers(),
            num_classes=num_classes,
            input_shape=(self.clip_frames, None, None, 3),
            dropout=self.dropout,
        )

    def to_flags(self):
        """Returns the text of a flag file that gives this configuration again."""
        lines = []
        for name, value in dataclasses.asdict(self).items():
            if name in _REPEATED:
                lines.extend(f"--{name}={item}\n" for item in value)
            else:
                lines.append(f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}\n")
        return "".join(lines)


_CHOICES = {
    "decode_isolation": ("none", "process"),
    "sampling": tuple(SAMPLING),
    "short_videos": SHORT,
    "crop_method": ("multi_scale", "scale_jitter", "random_resized"),
    "dtype_policy": ("float32", "mixed_float16", "mixed_bfloat16"),
}
_REPEATED = tuple(field.name for field in dataclasses.fields(Config) if field.metadata["repeated"])


def _defaults():
    return {field.name: field.default for field in dataclasses.fields(Config)}


def define_flags(flag_values=flags.FLAGS):
    """Defines a flag for each field of `Config`."""
    define = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(Config):
        default, text = field.default, field.metadata["help"]
        if field.name in _REPEATED:
            flags.DEFINE_multi_string(field.name, list(default), text, flag_values=flag_values)
        elif typing.get_origin(field.type) is tuple:
            flags.DEFINE_list(field.name, [str(item) for item in default], text, flag_values=flag_values)
        else:
            define[field.type](field.name, default, text, flag_values=flag_values)


def config_from_flags(flag_values=flags.FLAGS, directories=("data_dir", "workdir")):
    """Returns the `Config` that parsed flags describe.

    Args:
        flag_values: The parsed flags.
        directories: Those of the two directories that must be given.

    Raises:
        ValueError: A value is outside what its field allows, or a directory is missing.
    """
    for name in directories:
        if not flag_values[name].value:
            raise ValueError(f"Expected --{name} to be a directory. Received none. Try: --{name}=DIR.")
    values = {}
    for field in dataclasses.fields(Config):
        value = flag_values[field.name].value
        if typing.get_origin(field.type) is tuple:
            kind = typing.get_args(field.type)[0]
            try:
                value = tuple(kind(item) for item in value)
            except ValueError:
                raise ValueError(
                    f"Expected --{field.name} to be numbers separated by commas. "
                    f"Received {','.join(value)!r}. Try: --{field.name}={','.join(map(str, field.default))}"
                ) from None
        values[field.name] = value
    return Config(**values)


def read_config(workdir):
    """Returns the configuration of a run that was started in `workdir`.

    Raises:
        FileNotFoundError: No run was started there.
    """
    path = os.path.join(workdir, "run.flags")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Expected the directory of a run. Received {workdir!r}, which has no run.flags. "
            "Try: --workdir=DIR of a run of train.kinetics, or `make demo` first."
        )
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    flag_values(["", f"--flagfile={path}"])
    return config_from_flags(flag_values)


def in_flags(error):
    """Returns the text of an error with the flags' spelling of what the pipelines call by its name."""
    names = "|".join(field.name for field in dataclasses.fields(Config))
    text = re.sub(rf"(?<![-\w.])({names})=", r"--\1=", str(error))
    return text.replace(" max_bad_fraction", " --max_bad_fraction")
