"""The other end of `pipelines.decoding.isolation`: the process that decodes."""

import json
import os
import resource
import signal
import sys
import time

import numpy as np

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import decode_frames, inspect
from pipelines.decoding.limits import Limits
from pipelines.decoding.progress import reporting

_REPORT_SECONDS = 0.2


def serve(timeout_seconds, memory_bytes):
    """Answers requests until the parent closes the pipe, or is gone."""
    for what, size in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        most = resource.getrlimit(what)[1]
        size = size if most == resource.RLIM_INFINITY else min(size, most)
        resource.setrlimit(what, (size, size))
    # What other code prints must not get between the answers.
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(kind, value, data=b""):
        answers.write(json.dumps([kind, value]).encode() + b"\n")
        answers.write(data)
        answers.flush()

    def choose(seconds):
        answer("seconds", len(seconds), seconds.astype(np.float64))
        return json.loads(requests.readline())

    def send(picture):
        answer("frame", picture.shape, np.ascontiguousarray(picture))

    for line in requests:
        request = json.loads(line)
        # The parent ends a child that hangs; if the parent is gone, this timer ends it.
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout_seconds)
        source = requests.read(request["bytes"]) if "bytes" in request else request["path"]
        options = {"limits": Limits(**request["limits"]), "folder_fps": request["folder_fps"]}
        try:
            with reporting(_reporter(answer, timeout_seconds)):
                if request["what"] == "frames":
                    decode_frames(source, choose, send, **options)
                    kind, value = "done", None
                else:
                    kind, value = "facts", inspect(source, **options)
            answer(kind, value)
        except BadVideo as bad:
            answer("bad", [bad.reason, bad.is_final])
        except Exception as error:  # It is a mistake of ours, and no file should end a run here.
            reason = f"a mistake of the decoder, not of the file: {type(error).__name__}: {error}"
            answer("bad", [reason, False])
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reporter(answer, timeout_seconds):
    """Returns a function that tells the parent now and then how many packets and frames were read."""
    count, last = 0, time.monotonic()

    def report():
        nonlocal count, last
        count += 1
        if time.monotonic() - last > min(_REPORT_SECONDS, timeout_seconds / 4):
            answer("read", count)
            last = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 2 * timeout_seconds)

    return report


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
