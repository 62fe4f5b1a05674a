"""TSM ResNet-50 as a server runs it, exported and frozen, beside a plain ResNet-50 in PyTorch.

python benchmarks/inference.py [--rounds=15] [--threads=2]

The program prints Markdown: the median milliseconds of a clip over rounds in which all programs take turns,
after a check that both sides give the same logits, with TSM's shift and without. PyTorch's plain network,
which ours is compared with, has no shift. The program runs on the CPU, which must be idle: PyTorch's threads
spin while they wait for each other, and beside other work take several times as long. With
OMP_WAIT_POLICY=PASSIVE they do not.
"""

import argparse
import os
import sys
import tempfile
import time
from copy import deepcopy
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

try:
    import torch
    from torch.fx.experimental.optimization import fuse
    from torch_resnet import ResNet50, load_weights
except ImportError as error:
    sys.exit(
        f"error: Expected PyTorch beside TensorFlow. Received: {error}. "
        "Try: pip install -e '.[bench]' -c constraints.txt"
    )
from blocks import figure, print_header, print_row
from measure import median_gain, medians

from keras_nonlocal import VideoResNet
from savedmodels.freeze import freeze

SHAPE, CLASSES = (8, 224, 224, 3), 400
PLAIN, SHIFTED = "PyTorch", "PyTorch, with shift"
PLAIN_FUSED, PLAIN_BFLOAT16 = "PyTorch, norms fused", "PyTorch, bfloat16"
EXPORTED, FROZEN, BFLOAT16 = "ours, exported", "ours, frozen", "ours, frozen, bfloat16"
UNSHIFTED = "ours, frozen, no shift"  # the difference is what TemporalShift takes
# (program, the one that it is compared with, how many times as fast it must be)
CLAIMS = [(FROZEN, PLAIN, 1.0), (BFLOAT16, FROZEN, 1.3)]
TOLERANCES = {EXPORTED: 1e-4, FROZEN: 1e-4, BFLOAT16: 3e-2, UNSHIFTED: 1e-4}  # shares of the largest logit


def main(arguments=None):
    """Prints the times of all programs, then the claims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of either side")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    frames = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")
    model = randomised(VideoResNet(50, num_classes=CLASSES, input_shape=SHAPE))
    programs = torch_programs(model, frames, options.threads) | our_programs(model, frames)
    differences = check_agreement(programs)
    load = os.getloadavg()[0]
    times = times_in_turns(programs, options.rounds)
    print_header(
        f"TSM ResNet-50, a clip of {SHAPE[0]} frames of {SHAPE[1]}x{SHAPE[2]}, {options.threads} threads",
        ("program", "ms", "logits differ from PyTorch's by"),
    )
    for name, milliseconds in zip(programs, medians(times), strict=True):
        print_row(name, figure(milliseconds), f"{differences[name]:.1e}" if name in differences else "")
    print_claims(list(programs), times)
    print(f"\nload of the machine at the start {load:.1f}, at the end {os.getloadavg()[0]:.1f}")


def randomised(model):
    """Returns a network with random statistics and scales in its norms: untrained norms are the identity."""
    generator = np.random.default_rng(1)
    for variable in model.variables:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(generator.uniform(0.8, 1.2, variable.shape))
        elif variable.path.endswith(("beta", "moving_mean")):
            variable.assign(generator.normal(0, 0.1, variable.shape))
    return model


def our_programs(model, frames):
    """Returns {name: program} of the SavedModels that are named in TOLERANCES."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = VideoResNet(50, num_classes=CLASSES, input_shape=SHAPE)
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(model.get_weights())
    unshifted = VideoResNet(50, "c2d", topology="torchvision", num_classes=CLASSES, input_shape=SHAPE)
    unshifted.set_weights(model.get_weights())
    clips = tf.constant(frames[None])  # [1, T, H, W, 3]
    with tempfile.TemporaryDirectory() as directory:
        paths = {
            name: os.path.join(directory, name)
            for name in (EXPORTED, FROZEN, BFLOAT16, UNSHIFTED, "half", "c2d")
        }
        model.export(paths[EXPORTED], verbose=False)
        half.export(paths["half"], verbose=False)
        unshifted.export(paths["c2d"], verbose=False)
        freeze(paths[EXPORTED], paths[FROZEN])
        freeze(paths["half"], paths[BFLOAT16])
        freeze(paths["c2d"], paths[UNSHIFTED])
        loaded = {name: tf.saved_model.load(paths[name]) for name in TOLERANCES}
    return {name: partial(served_logits, saved_model, clips) for name, saved_model in loaded.items()}


def served_logits(saved_model, clips):
    """Returns the logits, [classes], of a SavedModel with one input and one output."""
    signature = saved_model.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    (logits,) = signature(**{name: clips}).values()
    return logits.numpy()[0]


def torch_programs(model, frames, threads):
    """Returns {name: program} of PyTorch's networks with the weights of a model, channels last."""
    torch.set_num_threads(threads)
    plain, shifted = (load_weights(ResNet50(CLASSES, shifted), model) for shifted in (None, SHAPE[0]))
    fused = fuse(plain).to(memory_format=torch.channels_last)
    half = deepcopy(plain).to(torch.bfloat16)
    networks = {PLAIN: plain, SHIFTED: shifted, PLAIN_FUSED: fused, PLAIN_BFLOAT16: half}
    images = torch.tensor(frames.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)  # [T, 3, H, W]

    def logits(network):
        with torch.inference_mode():
            return network(images.to(network.fc.weight.dtype)).float().mean(0).numpy()

    return {name: partial(logits, network) for name, network in networks.items()}


def check_agreement(programs):
    """Returns {name: difference from PyTorch's logits, as a share of the largest}, or raises ValueError."""
    shifted, plain = programs[SHIFTED](), programs[PLAIN]()
    differences = {}
    for name in TOLERANCES:
        expected = plain if name == UNSHIFTED else shifted
        differences[name] = np.abs(programs[name]() - expected).max() / np.abs(expected).max()
    for name, tolerance in TOLERANCES.items():
        if not differences[name] <= tolerance:
            raise ValueError(
                f"Expected logits within {tolerance} of the largest. Received {differences[name]:.1e} "
                f"from {name!r}. Try: compare the networks layer by layer before their times."
            )
    return differences


def times_in_turns(programs, rounds):
    """Returns the milliseconds of each program in each round, [rounds, programs], without the warm-up."""
    for run in programs.values():
        run()
    return [[milliseconds(run) for run in programs.values()] for _ in range(rounds)]


def milliseconds(run):
    """Times the second of two calls: the first wakes the threads and replaces other maps in the cache."""
    run()
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def print_claims(names, times):
    """Prints how many times as fast programs are, by the median over the rounds."""
    print_header("How many times as fast", ("program", "as", "times", "must be", "reached"))
    for name, other, least in CLAIMS:
        pairs = [(row[names.index(name)], row[names.index(other)]) for row in times]
        gain = median_gain(pairs)
        print_row(name, other, f"{gain:.2f}", f"{least}", "yes" if gain >= least else "NO")


if __name__ == "__main__":
    main()
