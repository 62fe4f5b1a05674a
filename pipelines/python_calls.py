"""Python functions that TensorFlow's threads call, and that let the interpreter end.

A thread of `tf.data` that wants Python's lock while the interpreter ends waits for ever, and the interpreter
for it. So once it begins to end, calls fail at once, and those that are running are waited for.
"""

import atexit
import functools
import threading
import time

_QUIET_SECONDS, _LONGEST_WAIT_SECONDS = 0.3, 10
_ending = threading.Event()
_running = set()  # A token for each call.


def lets_python_end(function):
    """Returns a function for `tf.numpy_function` that fails as soon as the interpreter begins to end."""

    @functools.wraps(function)
    def call(*arguments):
        token = object()
        _running.add(token)
        try:
            if _ending.is_set():
                raise RuntimeError("Python is ending.")
            return function(*arguments)
        finally:
            _running.discard(token)

    atexit.unregister(_end)
    atexit.register(_end)
    return call


def _end():
    """Waits until no call has been running for a while."""
    _ending.set()
    start = last_call = time.monotonic()
    while time.monotonic() < min(last_call + _QUIET_SECONDS, start + _LONGEST_WAIT_SECONDS):
        time.sleep(0.05)
        if _running:
            last_call = time.monotonic()
