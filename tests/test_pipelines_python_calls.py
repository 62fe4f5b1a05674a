"""A script with batches still under way has to end, whether it succeeds or fails."""

import weakref

import pytest
import small_run

from pipelines.dataset.python_calls import iterators_ended_on_error

# If calls are made in the last moment, a thread and the interpreter wait for each other.
SCRIPT = """
import sys, time
import numpy as np
import tensorflow as tf
from pipelines.dataset.python_calls import lets_python_end

@lets_python_end
def load(number):
    time.sleep(0.02)
    return number

def call(number):
    return tf.numpy_function(load, [number], tf.int64)

batches = tf.data.Dataset.range(10**6).map(call, num_parallel_calls=4).batch(4).prefetch(tf.data.AUTOTUNE)
batches = iter(batches)
print(next(batches).numpy().tolist(), next(batches).numpy().tolist())
if len(sys.argv) > 1:
    raise LookupError("an error of the script")
"""


@pytest.mark.parametrize("arguments", [(), ("fail",)])
def test_a_script_ends_while_batches_are_being_made(arguments):
    process = small_run.run_python("-c", SCRIPT, *arguments, timeout=60)
    assert process.stdout.split("\n")[0] == "[0, 1, 2, 3] [4, 5, 6, 7]", process.stderr[-2000:]
    assert process.returncode == len(arguments)
    assert ("LookupError" in process.stderr) == bool(arguments)


def test_what_the_frames_of_an_error_hold_is_released():
    class Iterator:
        pass

    held = []

    def makes_one():
        iterator = Iterator()
        held.append(weakref.ref(iterator))
        raise LookupError

    def reports_it():
        iterator = Iterator()
        held.append(weakref.ref(iterator))
        try:
            makes_one()
        except LookupError as error:
            raise ValueError from error

    with pytest.raises(ValueError) as caught, iterators_ended_on_error():
        reports_it()
    assert isinstance(caught.value.__cause__, LookupError)
    assert [reference() for reference in held] == [None, None]
