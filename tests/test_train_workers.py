"""Several workers, as on several machines, train as one does, and none of them waits for one that is gone."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import small_run
from test_train_resume import assert_same, curves, results_of, runs_of, weights_of

FLAGS = {"dropout": 0.0, "ema": 0.9, "clip_norm": 0.3, "synchronized_batch_norm": True, "mixup": 0.2}


def start(number, port, data, directory, name, **changes):
    """Starts a worker of `tests/worker.py`; returns the process."""
    arguments = [number, port, data, directory, name, json.dumps(FLAGS | changes)]
    return subprocess.Popen(
        [sys.executable, "tests/worker.py", *map(str, arguments)],
        cwd=small_run.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port():
    """Returns a number P such that the ports P and P + 1 are free."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def both(data, directory, name, changes_of_one=None, **changes):
    """Runs two workers to their end; returns [(status, output, errors)]."""
    port = free_port()
    ones = {} if changes_of_one is None else changes_of_one
    workers = [
        start(0, port, data, directory, name, **changes),
        start(1, port, data, directory, name, **changes | ones),
    ]
    try:
        outputs = [worker.communicate(timeout=200) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


@pytest.mark.long
def test_two_workers_train_as_one(finished_run, tmp_path):
    for status, _, errors in both(finished_run.data, tmp_path, "two"):
        assert status == 0, errors[-3000:]
    with runs_of(finished_run.data, tmp_path) as run:
        run("one", **FLAGS)
    one, two = (weights_of(tmp_path / name) for name in ("one", "two"))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    one, two = (results_of(tmp_path / name) for name in ("one", "two"))
    assert (one["top1"], one["videos"], one["data"]) == (two["top1"], two["videos"], two["data"])
    one, two = (curves(tmp_path / name) for name in ("one", "two"))
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-5, err_msg=str(key))


@pytest.mark.long
def test_a_killed_worker_ends_the_other_and_both_go_on(finished_run, tmp_path):
    for status, _, errors in both(finished_run.data, tmp_path, "whole"):
        assert status == 0, errors[-3000:]
    kill = {"dies_in": ["_Watch", "on_train_batch_end", 5]}
    (chief, output, errors), (killed, _, _) = both(finished_run.data, tmp_path, "run", kill)
    assert (chief, killed) == (75, -9), errors[-3000:]
    assert "stopped by the end of another worker" in output
    for status, _, errors in both(finished_run.data, tmp_path, "run"):
        assert status == 0, errors[-3000:]
    assert_same(tmp_path / "whole", tmp_path / "run")
