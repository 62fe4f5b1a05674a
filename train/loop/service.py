"""Watches over a tf.data service: TensorFlow waits for one that is gone, without an end."""

import contextlib
import os
import sys
import threading
import time

from train.data import check_service
from train.loop.stopping import STATUS

# Seconds without an answer of the dispatcher, and without a batch, after which a run ends.
_NO_ANSWER, _NO_BATCH = 60, 1800


@contextlib.contextmanager
def watched_service(address, batches, workdir):
    """Within the block, ends the program with status 75 if the service at an address is gone.

    What is in the last checkpoint is kept. Training cannot be told to stop, as it waits within TensorFlow.

    Args:
        address: That of the dispatcher, `grpc://HOST:PORT`; there is nothing to watch if it is empty.
        batches: Function that returns how many batches are done, those of validations included.
        workdir: Path, for the message.
    """
    ended = threading.Event()
    if address:
        threading.Thread(target=_watch, args=(address, batches, workdir, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(address, batches, workdir, ended):
    answered = moved = time.monotonic()
    before, reason = batches(), None
    while not ended.wait(min(10, _NO_ANSWER / 6, _NO_BATCH / 6)):
        now = time.monotonic()
        try:
            check_service(address)
            answered = now
        except ValueError as error:
            reason = str(error)
        if batches() != before:
            before, moved = batches(), now
        if now - answered > _NO_ANSWER:
            _end(reason.partition(" Try: ")[0], workdir)
        if now - moved > _NO_BATCH:
            _end(f"Expected clips of the service {address}. Received none for {_NO_BATCH} s.", workdir)


def _end(reason, workdir):
    remedy = f"start the service; the same command then goes on from the last checkpoint in {workdir}"
    print(f"\nerror: {reason} Try: {remedy}", file=sys.stderr, flush=True)
    os._exit(STATUS)
