"""DepthwiseConv3D against keras.layers.Conv3D(groups=channels): the same sum, in milliseconds.

python benchmarks/depthwise_conv3d.py [--repeats=3]

The two take turns, so that a busy machine slows both; each first runs once without the clock, for tracing.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_nonlocal import DepthwiseConv3D

SHAPE, KERNEL = (1, 8, 28, 28, 256), (3, 7, 7)


def programs(layer, x):
    """Returns {what: function of no arguments}, compiled as a graph without XLA."""

    def both():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, [x, *layer.trainable_variables])

    return {"forward": tf.function(lambda: layer(x)), "forward and backward": tf.function(both)}


def main():
    """Checks that both layers agree, times them in turns and prints their medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    x = tf.constant(np.random.default_rng(0).standard_normal(SHAPE, "float32"))
    taps = DepthwiseConv3D(KERNEL)
    grouped = keras.layers.Conv3D(SHAPE[-1], KERNEL, padding="same", groups=SHAPE[-1], use_bias=False)
    taps.build(SHAPE)
    grouped.build(SHAPE)
    grouped.kernel.assign(np.moveaxis(taps.kernel.numpy(), -1, -2))
    ours, theirs = programs(taps, x), programs(grouped, x)
    np.testing.assert_allclose(ours["forward"](), theirs["forward"](), atol=1e-4)
    print(f"{SHAPE}, kernel {KERNEL}\n{'':<22}{'taps':>10}{'grouped':>10}{'ratio':>8}")
    for what in ours:
        times = {"taps": [], "grouped": []}
        for _ in range(repeats + 1):
            for name, run in zip(times, (ours[what], theirs[what]), strict=True):
                start = time.perf_counter()
                tf.nest.map_structure(lambda value: value.numpy(), run())
                times[name].append(1e3 * (time.perf_counter() - start))
        mine, other = (statistics.median(times[name][1:]) for name in times)
        print(f"{what:<22}{mine:>7.1f} ms{other:>7.0f} ms{other / mine:>8.0f}")


if __name__ == "__main__":
    main()
