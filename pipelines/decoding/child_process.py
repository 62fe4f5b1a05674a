"""A child process that decodes, as its parent sees it: requests out, answers in, and a limit to its time."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

from pipelines.bad_video import Unusable
from pipelines.decoding.containers import IndexIsWrong
from pipelines.decoding.decode import Facts

_LONGEST_LINE = 2**16
_LONGEST_TEXT = 500
# A file may take so much longer for each packet and frame that is read. Each is read twice at most, and once
# more each time if its index proves wrong.
_SECONDS_A_FRAME, _MOST_READS_OF_A_FRAME = 0.1, 4
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM)


class Killed(Unusable):
    """Neither the file nor our clock ended the child."""


class Lost(Exception):
    """The child is gone or, if there is a message, answers nonsense."""


class ChildProcess:
    """A child process as its parent sees it.

    Methods that send or receive raise `Lost` if the process is gone or answers nonsense, and `Unusable` if
    it finds that the source is.

    Args:
        command: The command line that starts it.
    """

    def __init__(self, command):
        checkout = Path(__file__).resolve().parents[2]
        path = os.pathsep.join([str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # An interrupt from the keyboard reaches the parent alone.
        )
        self._busy, self._overdue = False, None

    def is_alive(self):
        """Returns whether the process runs."""
        return self._process.poll() is None

    def kept(self):
        """Returns the child if it can serve again; otherwise ends it."""
        if not (self._busy or self._overdue):
            return self
        self.end()
        return None

    @contextlib.contextmanager
    def time_limit(self, seconds):
        """Kills the process if its answers within the block take longer than so many seconds together.

        Time for each packet and frame that it reads comes back, but not more than it has used.
        """
        self._limit = self._left = seconds
        self._read = 0
        self.resume()
        try:
            yield
        finally:
            self._timer.cancel()
            self._timer.join()

    def pause(self):
        """Stops the clock: it is the parent's turn."""
        self._timer.cancel()
        self._left -= time.monotonic() - self._since

    def resume(self):
        """Lets the clock go on."""
        self._since = time.monotonic()
        self._timer = threading.Timer(max(self._left, 0), self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _go_on(self, count, most):
        """Gives time for all packets and frames that were read, of which `most` count."""
        _check(_is_size(count))
        self.pause()
        more = _SECONDS_A_FRAME * max(0, min(count, most) - self._read)
        self._left, self._read = min(self._left + more, self._limit), max(self._read, count)
        self.resume()

    def _expire(self):
        self._overdue = (
            f"decoding took more than {self._limit:g} seconds and {_SECONDS_A_FRAME} for each frame; "
            "a longer time limit may do"
        )
        self._process.kill()

    def end(self):
        """Ends the process and returns an `Unusable`: how it ended, or that it was overdue."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait() and 0
        if self._overdue:
            return Unusable(self._overdue, is_final=False)
        if -status in _FROM_OUTSIDE:
            name = signal.Signals(-status).name
            reason = f"the decoder was killed from outside ({name}), perhaps for lack of memory"
            return Killed(reason, is_final=False)
        names = {-sent.value: sent.name for sent in signal.Signals}
        return Unusable(
            f"the decoder crashed ({names.get(status, f'status {status}')})"
            if status
            else "the decoder broke off"
        )

    def request(self, source, request):
        """Sends a request and, if the source is bytes, these."""
        is_bytes = isinstance(source, bytes)
        name = {"bytes": len(source)} if is_bytes else {"path": os.path.abspath(source)}
        self._busy = True
        self._most_reads = _MOST_READS_OF_A_FRAME * request["limits"].frames
        limits = dataclasses.asdict(request["limits"])
        self.send(request | name | {"limits": limits}, source if is_bytes else b"")

    def send(self, message, data=b""):
        """Sends a line of JSON and raw bytes."""
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as error:
            raise Lost from error

    def receive(self, *kinds):
        """Returns the next answer that is no word of progress; it has to be of one of the kinds."""
        kind, value = self._receive_any()
        while kind == "read":
            self._go_on(value, self._most_reads)
            kind, value = self._receive_any()
        if kind == "bad":
            self._busy = False
            _check(isinstance(value, list) and len(value) == 2)
            reason, is_final = value
            raise Unusable(str(reason)[:_LONGEST_TEXT], is_final is not False)
        if kind not in kinds:
            raise Lost("the decoder answers nonsense")
        return kind, value

    def _receive_any(self):
        line = self._process.stdout.readline(_LONGEST_LINE)
        if len(line) < _LONGEST_LINE and not line.endswith(b"\n"):
            raise Lost
        try:
            kind, value = json.loads(line)
        except (ValueError, TypeError, RecursionError) as error:
            raise Lost("the decoder answers nonsense") from error
        return kind, value

    def receive_seconds(self, count, limits):
        """Returns the times of all frames, float64 [count]."""
        _check(_is_size(count) and count <= limits.frames)
        seconds = self._receive_numbers((count,), np.float64)
        _check(seconds[0] == 0 and (np.diff(seconds) > 0).all() and seconds[-1] <= limits.seconds)
        return seconds

    def pictures(self, numbers, limits):
        """Yields (frame number, uint8 [H, W, 3]).

        Raises:
            IndexIsWrong: The child begins again; the exception's argument is the new count of frames.
        """
        shapes = []
        for number in numbers:
            shape = self._receive_next("frame")
            _check(isinstance(shape, list) and len(shape) == 3 and all(map(_is_size, shape)))
            _check(shape[2] == 3 and shape[0] * shape[1] <= limits.pixels)
            shapes.append(shape)
            _check(shape == shapes[0])
            picture = self._receive_numbers(shape, np.uint8)
            self.pause()
            yield number, picture
            self.resume()
        self._receive_next("done")
        self._busy = False

    def _receive_next(self, expected):
        kind, value = self.receive("seconds", expected)
        if kind == "seconds":
            raise IndexIsWrong(value)
        return value

    def receive_facts(self):
        """Returns `Facts`."""
        _, value = self.receive("facts")
        _check(isinstance(value, list) and len(value) == 5 and isinstance(value[4], str))
        frames, fps, width, height, codec = value
        _check(all(map(_is_size, (frames, width, height))) and isinstance(fps, float) and 0 <= fps < math.inf)
        self._busy = False
        return Facts(frames, fps, width, height, codec[:_LONGEST_TEXT])

    def _receive_numbers(self, shape, kind):
        try:
            numbers = np.empty(shape, kind)
        except MemoryError as error:
            raise Lost("its frames take more memory than there is") from error
        if self._process.stdout.readinto(memoryview(numbers).cast("B")) < numbers.nbytes:
            raise Lost
        return numbers


def _is_size(value):
    return type(value) is int and value > 0


def _check(makes_sense):
    if not makes_sense:
        raise Lost("the decoder answers nonsense")
