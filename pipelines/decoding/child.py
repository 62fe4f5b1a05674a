"""The other end of `pipelines.decoding.isolation`: the process that decodes."""

import json
import os
import resource
import signal
import sys

import numpy as np

from pipelines.bad_video import BadVideo
from pipelines.decoding.containers import Limits
from pipelines.decoding.decode import decode_frames, inspect


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
            if request["what"] == "frames":
                decode_frames(source, choose, send, **options)
                answer("done", None)
            else:
                answer("facts", inspect(source, **options))
        except BadVideo as bad:
            answer("bad", bad.reason)
        except Exception as error:  # It is a mistake of ours, and no file should end a run here.
            answer("bad", f"a mistake of the decoder, not of the file: {type(error).__name__}: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
