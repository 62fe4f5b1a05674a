"""Python functions that TensorFlow's threads call, and that let the interpreter end.

A thread of `tf.data` that wants Python's lock while the interpreter ends waits for ever, and the interpreter
waits for the thread. So once the interpreter begins to end, new calls fail, and it waits for running ones.
"""

import atexit
import contextlib
import functools
import gc
import threading
import time
import traceback

_QUIET_SECONDS, _LONGEST_WAIT_SECONDS = 0.3, 10
_ending = threading.Event()
_running = set()  # There is a token for each call.


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


@contextlib.contextmanager
def iterators_ended_on_error():
    """When an error passes, releases the iterators that the frames of its traceback hold.

    The iterators' threads call Python. If they live when the interpreter ends, both wait for each other for
    ever. This is also a decorator.
    """
    try:
        yield
    except BaseException as error:
        _clear_frames(error)
        gc.collect()
        raise


def _clear_frames(error):
    """Empties the stack frames that an exception, or one that led to it, keeps alive, if they have ended."""
    while error is not None:
        for innermost, _ in traceback.walk_tb(error.__traceback__):
            # Callers are walked too: Keras cuts its own frames out of a traceback, but they live on there.
            for frame, _ in traceback.walk_stack(innermost):
                with contextlib.suppress(RuntimeError):  # The frame is still running.
                    frame.clear()
        error = error.__cause__ or error.__context__


def _end():
    """Waits until no call has been running for a while."""
    _ending.set()
    start = last_call = time.monotonic()
    while time.monotonic() < min(last_call + _QUIET_SECONDS, start + _LONGEST_WAIT_SECONDS):
        time.sleep(0.05)
        if _running:
            last_call = time.monotonic()
