"""The learning rate of each step: a warm-up, and then half a cosine, drops, or nothing."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_nonlocal")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of step s, counted from 0.

        s < W:        peak * (start + (end - start) * h * floor(s / h) / W)
        cosine:       peak * (1 + cos(pi * (s - F) / (S - F))) / 2, and 0 from step S on
        steps:        peak * factor ^ (how many of `drops` are at most s)
        constant:     peak

    Drops are counted from the beginning of the run, warm-up included, as in the papers' code.

    Args:
        kind: "cosine", "steps" or "constant".
        peak: Largest rate.
        steps: The count S of steps.
        warmup_steps: W, the steps of the warm-up, at most S - 1.
        warmup_start: The fraction of the peak with which the warm-up begins, in [0, 1].
        drops: Steps at which the rate drops, rising.
        factor: By what it is multiplied there.
        held: h, for how many steps of the warm-up the rate stays the same.
        first: F, the step with which the cosine begins: W, if it is None, or one before.
        joined: Whether the warm-up ends with the rate that follows it, as PySlowFast's does; else it ends
            with the peak, where end is 1. The two differ if F is less than W.
    """

    def __init__(
        self,
        kind,
        peak,
        steps,
        warmup_steps=0,
        warmup_start=0.1,
        drops=(),
        factor=0.1,
        held=1,
        first=None,
        joined=False,
    ):
        super().__init__()
        self.kind, self.peak, self.steps, self.warmup_steps = kind, peak, steps, min(warmup_steps, steps - 1)
        self.warmup_start, self.drops, self.factor = warmup_start, tuple(drops), factor
        self.held, self.joined = max(1, held), joined
        self.first = self.warmup_steps if first is None else min(first, self.warmup_steps)

    def __call__(self, step):
        """Returns the rate of a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        rise = (self._after(ops.cast(self.warmup_steps, "float32")) if self.joined else 1) - self.warmup_start
        counted = step if self.held == 1 else self.held * ops.floor(step / self.held)
        warm = self.warmup_start + rise * counted / max(1, self.warmup_steps)
        return self.peak * ops.where(step < self.warmup_steps, warm, self._after(step))

    def _after(self, step):
        """Returns the rate of a step after the warm-up, as a fraction of the peak."""
        if self.kind == "cosine":
            done = (step - self.first) / (self.steps - self.first)
            return (1 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0))) / 2
        if self.kind == "steps":
            passed = ops.sum(ops.cast(step >= ops.array([-1.0, *self.drops], "float32"), "float32")) - 1
            return ops.power(self.factor, passed)
        return 1.0

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("kind", "peak", "steps", "warmup_steps", "warmup_start", "drops", "factor")
        return {name: getattr(self, name) for name in (*names, "held", "first", "joined")}


def schedule_of(config, steps_per_epoch):
    """Returns the `Schedule` of a configuration; its epochs may be fractions of an epoch."""
    scale = config.batch_size / config.base_batch_size if config.base_batch_size else 1.0
    return Schedule(
        config.schedule,
        config.learning_rate * scale,
        config.steps or config.epochs * steps_per_epoch,
        config.warmup_steps or round(config.warmup_epochs * steps_per_epoch),
        config.warmup_start,
        config.decay_steps or [round(epoch * steps_per_epoch) for epoch in config.decay_epochs],
        config.decay_factor,
        held=steps_per_epoch if config.warmup_by == "epoch" else 1,
        first=None if config.cosine_after_warmup else 0,
        joined=config.warmup_to == "curve",
    )
