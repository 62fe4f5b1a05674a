"""Milliseconds of each clip operation on one core, and clips a second of RandAugment.

python benchmarks/augmentation.py [--repeats=20]

Clips are 8 frames of 340x256 pixels, crops 224x224.
"""

import argparse
import os
import statistics
import time

import numpy as np
import tensorflow as tf

from pipelines.augmenting import colour, crops, erasing, flips, rand_augment, resizing
from pipelines.dataset.clip_format import normalise

FRAMES, HEIGHT, WIDTH, SIZE = 8, 256, 340, 224
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def clip(height=HEIGHT, width=WIDTH):
    """Returns a moving texture with some grain, uint8 [8, height, width, 3]."""
    generator = np.random.default_rng(0)
    time_, rows, columns = np.ogrid[:FRAMES, :height, :width]
    waves = [np.sin((columns * (k + 1) + rows * (3 - k) + 9 * time_) / 23) for k in range(3)]
    grain = generator.normal(0, 8, (FRAMES, height, width, 3))
    return tf.constant(np.clip(128 + 80 * np.stack(waves, -1) + grain, 0, 255).astype(np.uint8))


def training(frames, seed):
    """Returns what a clip goes through in training: multi-scale crop, flip, normalise."""
    seeds = tf.random.split(seed, 2)
    pixels, _ = flips.random_flip(crops.multi_scale_crop(frames, SIZE, seeds[0]), seeds[1])
    return normalise(pixels, MEAN, STD)


def in_one_call(frames, seed):
    """Resizes 256x256 pixels to 224x224 as `resizing` does, columns as columns."""
    box, scale = frames[:, :, :256], (SIZE / 256, SIZE / 256)
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=box,
        size=(SIZE, SIZE),
        scale=scale,
        translation=(0.0, 0.0),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(pixels + 0.5, tf.uint8)


def operations():
    """Returns {name: function (clip, seed) -> clip} of every operation on a whole clip."""
    table = {
        "multi_scale_crop + flip + normalise": training,
        "multi_scale_crop": lambda frames, seed: crops.multi_scale_crop(frames, SIZE, seed),
        "scale_jitter_crop": lambda frames, seed: crops.scale_jitter_crop(frames, SIZE, seed),
        "random_resized_crop": lambda frames, seed: crops.random_resized_crop(frames, SIZE, seed),
        "resizing 256x256 to 224x224": lambda frames, seed: resizing.crop_and_resize(
            frames, (0, 0), (256, 256), SIZE
        ),
        "the same in one call of TensorFlow's kernel": in_one_call,
        "random_flip": lambda frames, seed: flips.random_flip(frames, seed)[0],
        "random_erasing, always": lambda frames, seed: erasing.random_erasing(frames, seed, probability=1),
        "normalise": lambda frames, seed: normalise(frames, MEAN, STD),
        "colour_jitter": colour.colour_jitter,
        "rand_augment": rand_augment.rand_augment,
    }
    for name, change in colour.ADJUSTMENTS.items():
        table[f"colour_jitter: {name}"] = lambda frames, seed, change=change: change(frames, 0.3)
    for name, operation in rand_augment.OPERATIONS.items():
        table[f"rand_augment: {name}"] = lambda frames, seed, operation=operation: operation.apply(
            frames, 0.3 * operation.strongest
        )
    return table


def milliseconds(function, frames, repeats):
    """Returns the times of calls of a graph, each with its own seed."""
    run = tf.function(function)
    run(frames, tf.constant([0, 0]))
    times = []
    for call in range(repeats):
        seed = tf.constant([1, call])
        start = time.perf_counter()
        run(frames, seed)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main(arguments=None):
    """Prints the table: the mean time of operations that draw among others, the median of the rest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20, help="calls of each operation (default 20)")
    repeats = parser.parse_args(arguments).repeats
    frames, crop = clip(), clip(SIZE, SIZE)
    print("| operation | ms a clip | clips/s |\n|---|---|---|")
    for name, function in operations().items():
        small = name in ("random_flip", "normalise")  # these come after the crop
        draws = name in (
            "rand_augment",
            "colour_jitter",
            "random_flip",
            "multi_scale_crop + flip + normalise",
        )
        times = milliseconds(function, crop if small else frames, 10 * repeats if draws else repeats)
        took = statistics.mean(times) if draws else statistics.median(times)
        print(f"| {name} | {took:.2f} | {1e3 / took:.0f} |", flush=True)


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main()
