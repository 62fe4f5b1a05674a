"""The fields of the training."""

import dataclasses
import functools

from train.config.fields import (
    above,
    all_of,
    at_least,
    field_of,
    from_to_below,
    one_of,
    within,
)
from train.config.parts import KINDS

_optimise = functools.partial(field_of, "optimisation")
_keep = functools.partial(field_of, "checkpoints")
_FRACTION = within(0, 1)


@dataclasses.dataclass(frozen=True)
class TrainingFields:
    """How it learns, and what is kept of it."""

    optimizer: str = _optimise(
        "sgd", "SGD with momentum, or AdamW with --momentum as its first beta", one_of("sgd", "adamw")
    )
    batch_size: int = _optimise(64, "clips per step, over all devices", at_least(1))
    epochs: int = _optimise(50, "passes over the training videos", at_least(1))
    steps: int = _optimise(
        0, "training steps, after which training ends, also within an epoch; 0 to go by --epochs", at_least(0)
    )
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
    decay_steps: tuple[int, ...] = _optimise(
        (), "steps after which --schedule=steps lets the rate drop, in the place of --decay_epochs"
    )
    decay_factor: float = _optimise(0.1, "by what it multiplies the rate there", within(0, 1))
    warmup_epochs: float = _optimise(
        5.0,
        "epochs over which the rate rises linearly; a flag that is left out means a tenth of --epochs at "
        "most, and 0 beside --steps and --warmup_steps",
        at_least(0),
    )
    warmup_steps: int = _optimise(
        0, "steps over which the rate rises, in the place of --warmup_epochs", at_least(0)
    )
    warmup_start: float = _optimise(0.1, "fraction of the rate with which the warm-up begins", _FRACTION)
    warmup_by: str = _optimise(
        "step",
        "whether the rate of the warm-up rises with each step, or with each epoch, and stays there",
        one_of("step", "epoch"),
    )
    warmup_to: str = _optimise(
        "peak",
        "where the warm-up ends: with the largest rate, or with the rate that follows it",
        one_of("peak", "curve"),
    )
    cosine_after_warmup: bool = _optimise(
        True,
        "let the cosine begin where the warm-up ends; else it begins with the run, and the rate steps down "
        "onto it",
    )
    rates: tuple[str, ...] = _optimise(
        (),
        "multipliers of the rate for parts as in --freeze, and for kinds as in --decayed, as in "
        "stem=0.1,fc=5,biases=2; a bias of fc then has 10",
    )
    freeze: tuple[str, ...] = _optimise(
        (), "parts that do not train, norms included: some of stem, res2 to res5, blocks and fc"
    )
    momentum: float = _optimise(0.9, "momentum of SGD, or first beta of AdamW", from_to_below(0, 1))
    beta2: float = _optimise(0.999, "second beta of AdamW", from_to_below(0, 1))
    nesterov: bool = _optimise(False, "look ahead by the momentum, as Nesterov does")
    weight_decay: float = _optimise(
        1e-4,
        "SGD adds it, times the weights of --decayed, to their gradients; AdamW shrinks these weights by it, "
        "times the rate",
        at_least(0),
    )
    decayed: tuple[str, ...] = _optimise(
        ("kernels", "regions"),
        "on what the decay acts; regions are the kernels of F_theta in RegionNonLocal, and norms those "
        "outside of attention blocks",
        all_of(KINDS.__contains__, f"some of {', '.join(KINDS)}")._replace(choices=KINDS),
    )
    multi_label: bool = _optimise(
        False,
        "videos may have several labels, none, or some for a part of their time: each class has a sigmoid, "
        "and the loss is the mean over the classes of binary cross-entropies",
    )
    label_smoothing: float = _optimise(
        0.0,
        "part of each label that is spread evenly over all classes; with --multi_label over yes and no",
        from_to_below(0, 1),
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
    partial_batch_norm: bool = _optimise(
        False,
        "keep batch norms to their running statistics, all but the first and those within attention blocks",
    )
    precise_batch_norm: int = _optimise(
        0,
        "training batches from which batch norms get their statistics anew for each validation, the "
        "evaluation and the saved model; 0 for the running ones",
        at_least(0),
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
        "epoch whose weights are evaluated in the end and saved: last, or best in validation by top-1 or mAP",
        one_of("last", "best"),
    )
    patience_epochs: int = _keep(
        0,
        "epochs without a better top-1 or mAP in the validation after which training ends, 0 for no end",
        at_least(0),
    )
    max_minutes: float = _keep(
        0.0, "minutes of training after which it ends, over all parts of the run, 0 for no end", at_least(0)
    )
