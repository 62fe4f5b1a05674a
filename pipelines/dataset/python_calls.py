"""Python functions that TensorFlow's threads call, and that let the interpreter end.

A thread of `tf.data` that wants Python's lock while the interpreter ends waits for ever, and the interpreter
for it. So once it begins to end, calls fail at once, and those that are running are waited for.
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


@contextlib.contextmanager
def iterators_ended_on_error():
    """When an error passes, lets go of the iterators that its frames hold.

    Their threads call Python. Were they alive when the interpreter ends, they would wait for it and it
    for them, for ever. Also a decorator.
    """
    try:
        yield
    except BaseException as error:
        _clear_frames(error)
        gc.collect()
        raise


def _clear_frames(error):
    """Empties every frame that an exception, or one that led to it, keeps, as far as it has ended."""
    while error is not None:
        for innermost, _ in traceback.walk_tb(error.__traceback__):
            # Through the callers too: Keras cuts its own frames out of a traceback, and they live on there.
            for frame, _ in traceback.walk_stack(innermost):
                with contextlib.suppress(RuntimeError):  # It is still running.
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
