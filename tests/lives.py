"""Kills runs at random instants, starts each again until it ends, and compares it with an undisturbed one.

    python tests/lives.py DATA DIRECTORY [--kills=200] [--seed=0]

DATA is made by `small_run.write_data`. Lives are forks of this process, which has imported TensorFlow and
never uses it. The instants are in steps, in writes of checkpoints, at the ends of epochs, and in evaluations.
"""

import argparse
import collections
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from test_train_resume import EVERYTHING, assert_same, runs_of


def in_a_fork(function, log):
    """Starts a function in a fork; returns its process. The status is 0 unless it raises."""
    process = os.fork()
    if process:
        return process
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = 1
    try:
        function()
        status = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(process):
    """Waits for a process, which has to end well."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def instant(log, begin):
    """Returns in which part of a run a life ended, by what it printed."""
    said = Path(log).read_text()[begin:]
    epochs = said.count("bad videos skipped")
    last = re.split(r"[\r\n]", said.strip())[-1]
    if "Epoch" not in said and not epochs:
        return "before a step"
    if epochs == 2 or re.search(r"\d/7", last):
        return "in the evaluation"
    return "between two epochs" if "bad videos skipped" in last else "in an epoch"


def main():
    """Prints how many lives ended where; the status is 0 if every run ended as the whole one did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, where = random.Random(options.seed), collections.Counter()
    log = options.directory / "log.txt"
    with runs_of(options.data, options.directory) as run:
        start = time.monotonic()
        assert ended(in_a_fork(lambda: run("whole", **EVERYTHING), log)), log.read_text()[-3000:]
        longest, runs = time.monotonic() - start, 0
        while where.total() < options.kills:
            name = f"run{runs}"
            for life in range(6):  # Five are killed, unless they end before.
                begin = log.stat().st_size
                process = in_a_fork(lambda name=name: run(name, **EVERYTHING), log)
                if life < 5:
                    time.sleep(draw.uniform(0.2, 0.8) * longest)
                    os.kill(process, signal.SIGKILL)
                if os.WIFEXITED(os.waitpid(process, 0)[1]):
                    break
                where[instant(log, begin)] += 1
            whole, workdir = options.directory / "whole", options.directory / name
            same = in_a_fork(lambda one=whole, other=workdir: assert_same(one, other), log)
            assert ended(same), log.read_text()[-3000:]
            runs += 1
    print(f"{where.total()} kills in {runs} runs, each of which ended in the same weights: {dict(where)}")


if __name__ == "__main__":
    main()
