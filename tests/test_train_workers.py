"""Several workers, as on several machines, train as one does, and none of them waits for one that is gone."""

import json
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import small_run
from test_train_resume import assert_same, curves, results_of, runs_of, weights_of

from train.loop.workers import WorkerError, Workers, open_strategy

FLAGS = {"dropout": 0.0, "ema": 0.9, "clip_norm": 0.3, "synchronized_batch_norm": True, "mixup": 0.2}
FLAGS |= {"precise_batch_norm": 2}


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
    for status, _, errors in both(finished_run.data, tmp_path, "two", steps=5):
        assert status == 0, errors[-3000:]
        assert "cannot be written" not in errors  # As the report and the pictures would be, with a warning.
    assert (tmp_path / "two" / "report.html").exists() and (tmp_path / "two/tensorboard/pictures").exists()
    with runs_of(finished_run.data, tmp_path) as run:
        run("one", **FLAGS, steps=5)
    one, two = (weights_of(tmp_path / name) for name in ("one", "two"))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    one, two = (results_of(tmp_path / name) for name in ("one", "two"))
    assert (one["top1"], one["videos"], one["data"]) == (two["top1"], two["videos"], two["data"])
    for name in ("bad_videos_train.csv", "bad_videos_val.csv"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
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


@pytest.mark.long
def test_a_signal_to_one_worker_ends_both_with_a_checkpoint(finished_run, tmp_path):
    arguments = [finished_run.data, tmp_path, "run"]
    signalled = {"signal_in": ["_Watch", "on_train_batch_end", 4]}
    for status, output, errors in both(*arguments, signalled):
        assert status == 75, errors[-3000:]
        assert "stopped by SIGTERM" in output or "stopped by a signal to another worker" in output
    assert any(path.name.startswith("step-4") for path in (tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.long
@pytest.mark.parametrize("clocks, ended_by", [((3600, 1), "max_minutes"), ((1, 3600), "epochs")])
def test_the_clock_of_the_chief_ends_the_training_of_both(clocks, ended_by, finished_run, tmp_path):
    flags = {"max_minutes": 5.0, "keep_epoch": "best", "clock": clocks[0]}
    for status, _, errors in both(finished_run.data, tmp_path, "run", {"clock": clocks[1]}, **flags):
        assert status == 0, errors[-3000:]
    results = results_of(tmp_path / "run")
    assert results["ended_by"] == ended_by and (results["step"] == 1) == (ended_by == "max_minutes")


@pytest.mark.long
def test_an_error_of_one_worker_is_told_by_both(finished_run, tmp_path):
    (chief, _, of_chief), (other, _, of_other) = both(finished_run.data, tmp_path, "run", {"ema": 0.0})
    assert (chief, other) == (1, 1)
    assert "WorkerError: Expected --ema as at the chief, '0.9'. Received '0.0'" in of_other
    assert "WorkerError: Worker 1 has ended: Expected --ema as at the chief" in of_chief
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "text",
    [
        "workers",
        "3",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
    ],
)
def test_what_describes_no_workers_is_refused(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(WorkerError, match="Expected TF_CONFIG to be") as raised:
        open_strategy()
    assert repr(text) in str(raised.value)


def test_a_cluster_of_one_worker_is_one_machine(monkeypatch):
    task = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    assert Workers(open_strategy()).is_alone


def test_workers_wait_for_each_other_for_a_while(tmp_path):
    program = (
        "import os, json; from train.loop import workers; workers._SECONDS = 2\n"
        f"cluster = {{'worker': ['127.0.0.1:{free_port()}', '127.0.0.1:1']}}\n"
        "os.environ['TF_CONFIG'] = json.dumps({'cluster': cluster, 'task': {'type': 'worker', 'index': 0}})\n"
        "workers.open_strategy()"
    )
    process = small_run.run_python("-c", program, timeout=60)
    assert process.returncode == -signal.SIGALRM and "waiting for 2 workers" in process.stderr
