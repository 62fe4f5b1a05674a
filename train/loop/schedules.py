"""The learning rate of each step: a warm-up, and then half a cosine, drops, or nothing."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_nonlocal")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of step s, counted from 0.

        s < W:        peak * (start + (1 - start) * s / W)
        cosine:       peak * (1 + cos(pi * (s - W) / (S - W))) / 2, and 0 from step S on
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
    """

    def __init__(self, kind, peak, steps, warmup_steps=0, warmup_start=0.1, drops=(), factor=0.1):
        super().__init__()
        self.kind, self.peak, self.steps, self.warmup_steps = kind, peak, steps, min(warmup_steps, steps - 1)
        self.warmup_start, self.drops, self.factor = warmup_start, tuple(drops), factor

    def __call__(self, step):
        """Returns the rate of a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        warm = self.warmup_start + (1 - self.warmup_start) * step / max(1, self.warmup_steps)
        if self.kind == "cosine":
            done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
            rate = (1 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0))) / 2
        elif self.kind == "steps":
            passed = ops.sum(ops.cast(step >= ops.array([-1.0, *self.drops], "float32"), "float32")) - 1
            rate = ops.power(self.factor, passed)
        else:
            rate = 1.0
        return self.peak * ops.where(step < self.warmup_steps, warm, rate)

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("kind", "peak", "steps", "warmup_steps", "warmup_start", "drops", "factor")
        return {name: getattr(self, name) for name in names}


def schedule_of(config, steps_per_epoch):
    """Returns the `Schedule` of a configuration; its epochs may be fractions of an epoch."""
    scale = config.batch_size / config.base_batch_size if config.base_batch_size else 1.0
    return Schedule(
        config.schedule,
        config.learning_rate * scale,
        config.epochs * steps_per_epoch,
        round(config.warmup_epochs * steps_per_epoch),
        config.warmup_start,
        [round(epoch * steps_per_epoch) for epoch in config.decay_epochs],
        config.decay_factor,
    )
