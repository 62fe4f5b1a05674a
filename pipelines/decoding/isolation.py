"""Decoding in processes of their own: a file that crashes or hangs FFmpeg is one bad video.

The parent sends a request, a JSON line (and the source, if it is bytes). The child answers with the times of
all frames, the parent sends the numbers of the frames that it wants, and the child sends these frames one by
one and says that it is done. If the file's index proves wrong, the child begins again with the times. An
answer is a JSON line `[kind, value]`, followed by raw bytes. The parent checks all of it, since a file may
have taken over the child. Nothing is pickled. `child` is the other end.
"""

import contextlib
import functools
import os
import queue
import sys

from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding.child_process import ChildProcess, Killed, Lost
from pipelines.decoding.containers import IndexIsWrong
from pipelines.decoding.decode import (
    Clip,
    check_folder_fps,
    collect,
    decode_frames,
    source_name,
    wanted_frames,
)
from pipelines.decoding.limits import Limits

ISOLATION = ("process", "none")


class IsolatedDecoder:
    """A decoder like `decode_frames` that works in child processes; any number of threads may call it.

    Args:
        workers: Most processes at a time, each started when it is first needed.
        timeout_seconds: A file is bad if no packet or frame of it is read for so long, or if all together
            take longer and more than 0.1 seconds each. What `choose` and `transform` take does not count.
        memory_bytes: Most address space of a process; about 300 MB of it are taken before the first file.
        limits: The `Limits` of calls that name none.

    Raises:
        ValueError: `workers` is less than 1, or `timeout_seconds` is not positive.

    >>> with IsolatedDecoder(workers=1) as decode:
    ...     decode("missing.mp4", [0])
    Traceback (most recent call last):
    pipelines.bad_video.BadVideo: missing.mp4: there is no such file
    """

    def __init__(self, workers, timeout_seconds=60, memory_bytes=4 * 2**30, limits=Limits()):  # noqa: B008
        if workers < 1 or timeout_seconds <= 0:
            raise ValueError(
                f"Expected at least 1 worker and a time above 0. Received workers={workers}, "
                f"timeout_seconds={timeout_seconds}. Try: workers={os.cpu_count()}, timeout_seconds=60."
            )
        self._workers, self._timeout_seconds, self._memory_bytes = workers, timeout_seconds, memory_bytes
        self._closed, self._limits = False, limits
        self._idle = queue.LifoQueue()  # The idle children, and None for each that is not started.
        for _ in range(workers):
            self._idle.put(None)

    def __call__(self, source, choose, transform=None, limits=None, folder_fps=12):
        """Decodes chosen frames, see `pipelines.decoding.decode.decode_frames`."""
        check_folder_fps(folder_fps)
        limits = limits or self._limits

        def converse(child):
            _, count = child.receive("seconds")
            while True:
                seconds = child.receive_seconds(count, limits)
                child.pause()
                wanted = wanted_frames(choose, seconds)
                child.resume()
                child.send(wanted)
                pictures = child.pictures(sorted(set(wanted)), limits)
                try:
                    return Clip(collect(pictures, wanted, transform, limits), seconds[wanted])
                except IndexIsWrong as again:
                    (count,) = again.args

        return self._ask(source, converse, what="frames", limits=limits, folder_fps=folder_fps)

    def inspect(self, source, limits=None, folder_fps=12):
        """Decodes every frame, see `pipelines.decoding.decode.inspect`."""
        check_folder_fps(folder_fps)
        limits = limits or self._limits
        return self._ask(
            source, ChildProcess.receive_facts, what="facts", limits=limits, folder_fps=folder_fps
        )

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
        try:
            try:
                return self._ask_once(source, converse, request)
            except Killed:  # It may have been an accident, such as another program's hunger for memory.
                return self._ask_once(source, converse, request)
        except Unusable as bad:
            raise BadVideo(source_name(source), str(bad), bad.is_final) from bad.__cause__

    def _ask_once(self, source, converse, request):
        child = self._idle.get()
        try:
            if self._closed:
                raise RuntimeError("Expected an open decoder. Received a call after close(). Try: a new one.")
            if child is None or not child.is_alive():
                child = ChildProcess(_command(self._timeout_seconds, self._memory_bytes))
            with child.time_limit(self._timeout_seconds):
                child.request(source, request)
                return converse(child)
        except Lost as lost:
            raise (Unusable(str(lost)) if str(lost) else child.end()) from lost
        finally:
            self._idle.put(child and child.kept())


@contextlib.contextmanager
def open_decoder(isolation, workers, timeout_seconds=60, limits=Limits()):  # noqa: B008
    """Yields a decoder, and ends its processes afterwards.

    Args:
        isolation: "process" decodes in child processes, "none" in this one.
        workers: Most processes at a time.
        timeout_seconds: As for `IsolatedDecoder`; in this process there is no such limit.
        limits: `Limits`.
    """
    if isolation == "process":
        with IsolatedDecoder(workers, timeout_seconds, limits=limits) as decode:
            yield decode
    else:
        yield functools.partial(decode_frames, limits=limits)


def _command(*limits):
    # -P: whatever lies in the working directory is not imported.
    return [sys.executable, "-P", "-m", "pipelines.decoding.child", *map(str, limits)]
