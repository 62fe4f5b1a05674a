"""A training step of TSM ResNet-50, with the norms and the shift of this library and with Keras's own.

python benchmarks/training.py [--rounds=9] [--batch=2]

The program prints Markdown: the median milliseconds of a step over rounds in which both take turns, float32
and mixed bfloat16, after a check that their losses are the same over three steps, and beside a ResNet-50 in
PyTorch, channels last, with TSM's shift, where PyTorch is installed. It runs on the CPU, which should be
idle.
"""

import argparse
import contextlib
import importlib.util
import os
import time
from functools import partial
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf
from blocks import figure, print_header, print_row
from measure import medians

from keras_nonlocal import TemporalShift, VideoResNet, temporal_shift
from keras_nonlocal.batch_norm import BatchNormalization

SHAPE, CLASSES, STEPS_COMPARED = (8, 224, 224, 3), 400, 3
KERAS, OURS, TORCH = "Keras's norms, plain shift", "ours", "PyTorch, with shift"
POLICIES = {"float32": 2e-2, "mixed_bfloat16": 5e-2}  # By how much the losses may differ, in nats.


def main(arguments=None):
    """Prints the times of a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=2, help="clips of a step")
    options = parser.parse_args(arguments)
    shape = "x".join(map(str, (options.batch, *SHAPE[:3])))
    print_header(f"A training step of TSM ResNet-50, {shape}", ("program", "ms", f"/ {KERAS}"))
    for policy, tolerance in POLICIES.items():
        clips, labels = batch_of(options.batch)
        with as_in_keras():
            programs = {KERAS: step(policy, clips, labels)}
        programs[OURS] = step(policy, clips, labels)
        check_agreement(programs, tolerance)
        if importlib.util.find_spec("torch"):
            programs[TORCH] = torch_step(policy, clips, labels)
        times = medians([[milliseconds(run) for run in programs.values()] for _ in range(options.rounds)])
        for name, time_of in zip(programs, times, strict=True):
            print_row(f"{name}, {policy}", figure(time_of), f"{time_of / times[0]:.2f}")


def milliseconds(run):
    """Times one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def batch_of(count):
    """Returns (clips, labels) of a batch."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *SHAPE), "float32"), rng.integers(CLASSES, size=count)


@contextlib.contextmanager
def as_in_keras():
    """Within the block, norms and shifts are made of plain operations when they are traced."""

    def plain(self, x):
        return temporal_shift._shift(x, x.shape[-1] // self.divisor, 1)

    norms = mock.patch.object(BatchNormalization, "_is_fused", lambda self, inputs: False)
    with norms, mock.patch.object(TemporalShift, "call", plain):
        yield


def step(policy, clips, labels):
    """Returns a function that trains for a step and returns the loss; it is traced here."""
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = VideoResNet(50, num_classes=CLASSES, input_shape=SHAPE, dropout=0)
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def train(clips, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(clips, training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, [w.value for w in weights]), weights, strict=True))
        return loss

    run = partial(train.get_concrete_function(tf.constant(clips), tf.constant(labels)), clips, labels)
    return lambda: float(run())


def check_agreement(programs, tolerance):
    """Raises ValueError unless all programs have the same losses over some steps."""
    losses = {name: [run() for _ in range(STEPS_COMPARED)] for name, run in programs.items()}
    if np.abs(np.subtract(losses[KERAS], losses[OURS])).max() > tolerance:
        raise ValueError(f"Expected equal losses. Received {losses}. Try: another machine, to tell why.")


def torch_step(policy, clips, labels):
    """Returns a function that trains PyTorch's network for a step and returns the loss."""
    import torch
    from torch_resnet import ResNet50

    network = ResNet50(CLASSES, SHAPE[0]).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    frames = torch.tensor(clips.reshape(-1, *SHAPE[1:]).transpose(0, 3, 1, 2))
    frames, labels = frames.to(memory_format=torch.channels_last), torch.tensor(labels)

    def run():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=policy == "mixed_bfloat16"):
            logits = network(frames).float().view(len(labels), SHAPE[0], -1).mean(1)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    return run


if __name__ == "__main__":
    main()
