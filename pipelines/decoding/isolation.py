"""Decoding in processes of their own: a file that crashes or hangs FFmpeg is one bad video.

The parent sends a request, a JSON line (and the source, if it is bytes). The child answers with the times of
all frames, the parent sends the numbers of the frames that it wants, and the child sends these frames one by
one and says that it is done. If the file's index proves wrong, the child begins again with the times. An
answer is a JSON line `[kind, value]`, followed by raw bytes. The parent checks all of it, since a file may
have taken over the child. Nothing is pickled. `child` is the other end.
"""

import contextlib
import dataclasses
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding.containers import IndexIsWrong, Limits
from pipelines.decoding.decode import (
    Clip,
    Facts,
    check_folder_fps,
    collect,
    decode_frames,
    source_name,
    wanted_frames,
)

ISOLATION = ("process", "none")
_LONGEST_LINE = 2**16
_LONGEST_TEXT = 500


class IsolatedDecoder:
    """A decoder like `decode_frames` that works in child processes; any number of threads may call it.

    Args:
        workers: Most processes at a time, each started when it is first needed.
        timeout_seconds: A file that takes longer is bad. `choose` and `transform` count as part of it.
        memory_bytes: Most address space of a process; about 300 MB of it are taken before the first file.

    Raises:
        ValueError: `workers` is less than 1, or `timeout_seconds` is not positive.

    >>> with IsolatedDecoder(workers=1) as decode:
    ...     decode("missing.mp4", [0])
    Traceback (most recent call last):
    pipelines.bad_video.BadVideo: missing.mp4: there is no such file
    """

    def __init__(self, workers, timeout_seconds=60, memory_bytes=4 * 2**30):
        if workers < 1 or timeout_seconds <= 0:
            raise ValueError(
                f"Expected at least 1 worker and a time above 0. Received workers={workers}, "
                f"timeout_seconds={timeout_seconds}. Try: workers={os.cpu_count()}, timeout_seconds=60."
            )
        self._workers, self._timeout_seconds, self._memory_bytes = workers, timeout_seconds, memory_bytes
        self._closed = False
        self._idle = queue.LifoQueue()  # The idle children, and None for each that is not started.
        for _ in range(workers):
            self._idle.put(None)

    def __call__(self, source, choose, transform=None, limits=Limits(), folder_fps=12):  # noqa: B008
        """Decodes chosen frames, see `pipelines.decoding.decode.decode_frames`."""
        check_folder_fps(folder_fps)

        def converse(child):
            _, count = child.receive("seconds")
            while True:
                seconds = child.receive_seconds(count, limits)
                wanted = wanted_frames(choose, seconds)
                child.send(wanted)
                pictures = child.pictures(sorted(set(wanted)), limits)
                try:
                    return Clip(collect(pictures, wanted, transform), seconds[wanted])
                except IndexIsWrong as again:
                    (count,) = again.args

        return self._ask(source, converse, what="frames", limits=limits, folder_fps=folder_fps)

    def inspect(self, source, limits=Limits(), folder_fps=12):  # noqa: B008
        """Decodes every frame, see `pipelines.decoding.decode.inspect`."""
        check_folder_fps(folder_fps)
        return self._ask(source, _Child.receive_facts, what="facts", limits=limits, folder_fps=folder_fps)

    def close(self):
        """Ends the processes as soon as the calls that use them are done."""
        self._closed = True
        for child in [self._idle.get() for _ in range(self._workers)]:
            if child is not None:
                child.end()
            self._idle.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _ask(self, source, converse, **request):
        child = self._idle.get()
        try:
            if self._closed:
                raise RuntimeError("Expected an open decoder. Received a call after close(). Try: a new one.")
            if child is None or not child.is_alive():
                child = _Child(_command(self._timeout_seconds, self._memory_bytes))
            with child.time_limit(self._timeout_seconds):
                child.request(source, request)
                return converse(child)
        except _Lost as lost:
            raise BadVideo(source_name(source), str(lost) or child.end()) from lost
        except (_Refused, Unusable) as refused:
            raise BadVideo(source_name(source), str(refused)) from None
        finally:
            self._idle.put(child and child.kept())


@contextlib.contextmanager
def open_decoder(isolation, workers):
    """Yields a decoder, and ends its processes afterwards.

    Args:
        isolation: "process" decodes in child processes, "none" in this one.
        workers: Most processes at a time.
    """
    if isolation == "process":
        with IsolatedDecoder(workers) as decode:
            yield decode
    else:
        yield decode_frames


class _Refused(Exception):
    """The child finds the source unusable."""


class _Lost(Exception):
    """The child is gone or, if there is a message, answers nonsense."""


def _command(*limits):
    # -P: whatever lies in the working directory is not imported.
    return [sys.executable, "-P", "-m", "pipelines.decoding.child", *map(str, limits)]


class _Child:
    """A child process as its parent sees it."""

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
        return self._process.poll() is None

    def kept(self):
        """Returns the child if it can serve again; otherwise ends it."""
        if not (self._busy or self._overdue):
            return self
        self.end()
        return None

    @contextlib.contextmanager
    def time_limit(self, seconds):
        timer = threading.Timer(seconds, self._expire, [seconds])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _expire(self, seconds):
        self._overdue = f"decoding took more than {seconds} seconds"
        self._process.kill()

    def end(self):
        """Ends the process and returns the reason for a `BadVideo`: how it ended, or that it was overdue."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait() and 0
        names = {-sent.value: sent.name for sent in signal.Signals}
        ended = (
            f"the decoder crashed ({names.get(status, f'status {status}')})"
            if status
            else "the decoder broke off"
        )
        return self._overdue or ended

    def request(self, source, request):
        if isinstance(source, bytes):
            request["bytes"] = len(source)
        else:
            request["path"] = os.path.abspath(source)
        self._busy = True
        request["limits"] = dataclasses.asdict(request["limits"])
        self.send(request, source if isinstance(source, bytes) else b"")

    def send(self, message, data=b""):
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as error:
            raise _Lost from error

    def receive(self, *kinds):
        """Returns the next answer, which has to be of one of the kinds."""
        line = self._process.stdout.readline(_LONGEST_LINE)
        if len(line) < _LONGEST_LINE and not line.endswith(b"\n"):
            raise _Lost
        try:
            kind, value = json.loads(line)
        except (ValueError, TypeError, RecursionError) as error:
            raise _Lost("the decoder answers nonsense") from error
        if kind == "bad":
            self._busy = False
            raise _Refused(str(value)[:_LONGEST_TEXT])
        if kind not in kinds:
            raise _Lost("the decoder answers nonsense")
        return kind, value

    def receive_seconds(self, count, limits):
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
            yield number, self._receive_numbers(shape, np.uint8)
        self._receive_next("done")
        self._busy = False

    def _receive_next(self, expected):
        kind, value = self.receive("seconds", expected)
        if kind == "seconds":
            raise IndexIsWrong(value)
        return value

    def receive_facts(self):
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
            raise _Lost("its frames take more memory than there is") from error
        if self._process.stdout.readinto(memoryview(numbers).cast("B")) < numbers.nbytes:
            raise _Lost
        return numbers


def _is_size(value):
    return type(value) is int and value > 0


def _check(makes_sense):
    if not makes_sense:
        raise _Lost("the decoder answers nonsense")
