"""Kills runs at random instants, starts each again until it ends, and compares it with an undisturbed one.

    python tests/lives.py DATA DIRECTORY [--kills=200] [--seed=0]

DATA is made by `small_run.write_data`. Lives are forks of this process, which has imported TensorFlow and
never uses it. A life tells what it does, and is killed some time after one of these.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from test_train_resume import EVERYTHING, assert_same, runs_of

from train.loop import fitting
from train.loop.state import RunState, Validation

MOST_LIVES, MOST_SECONDS = 6, 0.3
# Where a life tells what it does: before and after these.
TOLD = {
    (fitting._Watch, "on_train_batch_end"): ("after a step", "after a step"),
    (RunState, "save"): ("in a write", "after a write"),
    (RunState, "save_scores"): ("in a write of scores", "in the evaluation"),
    (Validation, "on_predict_batch_end"): ("in an evaluation", "in an evaluation"),
    (fitting._Saves, "on_epoch_end"): ("after a validation", "between two epochs"),
}


def in_a_fork(function, log, pipe=None):
    """Starts a function in a fork; returns its process. The status is 0 unless it raises."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        with telling(pipe) if pipe is not None else contextlib.nullcontext():
            function()
        status = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(status)


@contextlib.contextmanager
def telling(pipe):
    """Lets the methods of `TOLD` write to a pipe what a life does."""

    def told(real, before, after):
        def method(self, *arguments, **options):
            os.write(pipe, f"{before}\n".encode())
            made = real(self, *arguments, **options)
            os.write(pipe, f"{after}\n".encode())
            return made

        return method

    with pytest.MonkeyPatch.context() as patch:
        for (of, name), words in TOLD.items():
            patch.setattr(of, name, told(getattr(of, name), *words))
        yield


def has_ended_well(process):
    """Waits for a process; returns whether it raised nothing."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def killed_at(draw, function, log):
    """Starts a life and kills it; returns what it did last, or None if it came to its end before."""
    reader, writer = os.pipe()
    process = in_a_fork(function, log, writer)
    os.close(writer)
    last = "before a step"
    with open(reader) as told:
        for _ in range(draw.randrange(30)):
            last = told.readline().strip()
            if not last:  # It has ended.
                assert has_ended_well(process), log.read_text()[-3000:]
                return None
        time.sleep(draw.uniform(0, MOST_SECONDS))
        os.kill(process, signal.SIGKILL)
        last = [last, *told.read().split("\n")[:-1]][-1]
    was_killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
    return last if was_killed else None


def main():
    """Prints how many lives ended where; the status is 0 if every run ended as the undisturbed one did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, where, runs = random.Random(options.seed), collections.Counter(), 0
    options.directory.mkdir(parents=True, exist_ok=True)
    log, whole = options.directory / "log.txt", options.directory / "whole"
    with runs_of(options.data, options.directory) as run:
        assert has_ended_well(in_a_fork(lambda: run("whole", **EVERYTHING), log)), log.read_text()[-3000:]
        while where.total() < options.kills:
            name = f"run{runs}"

            def live(name=name):
                run(name, **EVERYTHING)

            for _ in range(MOST_LIVES):
                last = killed_at(draw, live, log)
                if last is None:
                    break
                where[last] += 1
            else:
                assert has_ended_well(in_a_fork(live, log)), log.read_text()[-3000:]
            same = in_a_fork(lambda name=name: assert_same(whole, options.directory / name), log)
            assert has_ended_well(same), log.read_text()[-3000:]
            runs += 1
    print(f"{where.total()} kills in {runs} runs, each of which ended in the same weights: {dict(where)}")


if __name__ == "__main__":
    main()
