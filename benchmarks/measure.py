"""Times programs that take turns in one process, and measures the peak memory of each in its own process.

A case is a function of no arguments that can be pickled. It returns programs by name, and a program is
{"forward": run, "with backward": run}, functions of no arguments. They run on the CPU, as TensorFlow
graphs without XLA; each runs once before it is measured.
"""

import multiprocessing
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

PASSES = ("forward", "with backward")
ROUNDS_AT_LEAST, SECONDS_AT_MOST = 3, 3  # no round starts after these seconds if these many are done
LONG_MS = 2000  # tracing is a small part of it
SHORTEST_MS = 10  # a program that takes less runs several times in a row for one time


def random(shape, seed=0, scale=1.0):
    """Returns a tensor of normally distributed float32 values."""
    return tf.constant(np.float32(scale) * np.random.default_rng(seed).standard_normal(shape, "float32"))


def function_program(function, *inputs):
    """Returns the program of a function of tensors; backward gives the gradient of each input."""
    return _program(function, function, inputs)


def layer_program(layer, x, call=None):
    """Returns the program of a built layer: forward at inference, backward in training with its weights.

    `call(x, training)`, if given, computes the same in another way.
    """
    call = call or layer
    weights = [weight.value for weight in layer.trainable_variables]
    return _program(partial(call, training=False), partial(call, training=True), (x,), weights)


def randomised(layer, shape):
    """Builds a layer and moves all weights a little: a branch that starts at zero would have no gradient.

    The weights are the same in each run, as the agreement of two float32 results depends on them.
    """
    keras.utils.set_random_seed(0)
    layer.build(shape)
    for seed, weight in enumerate(layer.trainable_variables):
        weight.assign(weight + random(weight.shape, seed, 0.02))
    return layer


def _program(forward, training, inputs, weights=()):
    upstream = random(tf.function(forward).get_concrete_function(*inputs).outputs[0].shape, seed=9)

    def backward(upstream, *inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = training(*inputs)
        # y is returned as in training: without it, a graph may leave out the last product of the forward.
        return y, tape.gradient(y, [*inputs, *weights], upstream)

    runs = partial(tf.function(forward), *inputs), partial(tf.function(backward), upstream, *inputs)
    return dict(zip(PASSES, runs, strict=True))


def multiply_adds(run):
    """Returns the multiply-adds of the matrix products in a run's graph; None where it loops or convolves."""
    operations = run.func.get_concrete_function(*run.args).graph.get_operations()
    if any(re.search("While|Conv|Call|Einsum", operation.type) for operation in operations):
        return None
    products = [operation for operation in operations if "MatMul" in operation.type]
    return sum(_depth(product) * product.outputs[0].shape.num_elements() for product in products) or None


def _depth(product):
    transposed = product.get_attr("transpose_a" if product.type == "MatMul" else "adj_x")
    return product.inputs[0].shape[-2 if transposed else -1]


def check_agreement(programs):
    """Raises AssertionError where two programs differ in a result or a gradient."""
    for what in PASSES:
        ours, theirs = (tf.nest.flatten(program[what]()) for program in programs)
        # Some gradients are zero up to rounding, such as that of a bias in front of a batch norm.
        rounding = 1e-6 * max(np.abs(right).max() for right in theirs)
        for left, right in zip(ours, theirs, strict=True):
            tolerance = max(1e-3 * np.abs(right).max(), rounding)
            right = np.reshape(right, left.shape)  # Keras's kernels have their axis of length one elsewhere
            np.testing.assert_allclose(left, right, rtol=1e-3, atol=tolerance)


def times_in_turns(runs, repeats):
    """Returns the milliseconds of each run in each round, [rounds, runs]; they take turns in a round."""
    counts = [max(1, round(SHORTEST_MS / _warm_milliseconds(run))) for run in runs]
    rounds, start = [], time.perf_counter()
    while len(rounds) < repeats:
        late = time.perf_counter() - start > SECONDS_AT_MOST
        if late and len(rounds) >= min(repeats, ROUNDS_AT_LEAST):
            break
        rounds.append([_milliseconds(run, count) for run, count in zip(runs, counts, strict=True)])
    return rounds


def _warm_milliseconds(run):
    """Times the second call, because the first one may trace; the first if that took seconds."""
    first = _milliseconds(run)
    return first if first > LONG_MS else _milliseconds(run)


def _milliseconds(run, count=1):
    start = time.perf_counter()
    for _ in range(count):
        run()
    return 1e3 * (time.perf_counter() - start) / count


def medians(rounds):
    """Returns the median of each run."""
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def median_gain(rounds):
    """Returns the median over the rounds of second / first."""
    return statistics.median(theirs / ours for ours, theirs in rounds)


def peaks(jobs, workers=2):
    """Returns (megabytes, milliseconds) for each job (case, name, pass), each in a fresh process.

    The megabytes, 10^6 bytes, are the highest resident memory during the first call, above what the process
    had before it: inputs and weights, not results, were there already. The milliseconds are one call's.
    """
    # A forked copy of this process would start with its memory and lose TensorFlow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        return list(pool.map(_peak, *zip(*jobs, strict=True)))


def _peak(case, name, what):
    run = case()[name][what]
    for warm_up in function_program(tf.linalg.matmul, random((64, 64)), random((64, 64))).values():
        warm_up()  # it loads the threads and libraries that every program needs
    before = _resident_bytes("VmRSS")
    # The peak of getrusage cannot be reset and begins with that of the parent process; this one can.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    first = _milliseconds(run)
    megabytes = (_resident_bytes("VmHWM") - before) / 1e6
    return megabytes, first if first > LONG_MS else _milliseconds(run)


def _resident_bytes(field):
    """Returns what Linux says of this process: VmRSS, resident memory, or VmHWM, its peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1])
