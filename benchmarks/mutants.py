"""What share of small faults in the code the tests notice: a mutation test, with the mutants of Cosmic Ray.

    make mutants
    python benchmarks/mutants.py [--seconds=3600] [--only=train/loop/run.py] [--survivors]

A mutant is the code with one change: a number off by one, `<` for `<=`, `and` for `or`, a condition turned
round. It is killed when a test fails. A place has one mutant of each kind. Tests are chosen by coverage:
those that reach the line of the change, first those of its module, the quickest first, and then the others
of its module, of which some start programs; all have `--budget` seconds. So the score is a lower bound: a
test that was not chosen might kill a survivor.

The mutants wait in a random order in `build/mutants/session.sqlite`, a session of Cosmic Ray, which its
`cr-html` shows. A run goes on where the last one ended, and what is done is at any time a fair sample of
all. The plan is that of the code it began with: after a change of the code, remove `build/mutants`. A
mutant that no test can kill, or should, stands in `benchmarks/equivalent_mutants.txt` with its reason.

Each mutant is tested in a copy of the tree, in a process forked from one that has imported TensorFlow
already.
"""

import argparse
import ast
import collections
import fcntl
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_WORK = _ROOT / "build" / "mutants"
_PLACES = (
    "train",
    "savedmodels",
    "pipelines/dataset",
    *(f"pipelines/{name}.py" for name in ("clips", "labels", "order")),
    # The arithmetic of the layers; the builders, counts and converters are held against tables elsewhere.
    *(
        f"keras_nonlocal/{name}.py"
        for name in (
            *("affinity", "attention_chain", "bilinear", "bilinear_transform", "compact_generalized"),
            *("conv_block_attention", "depthwise_conv3d", "frame_wise", "global_context", "grouped_conv2d"),
            *("non_local", "positions", "projection", "pyramid", "region_non_local", "residual"),
            *("squeeze_excite", "temporal_shift"),
        )
    ),
)
# The tests of other rooms would find some, too; these are the ones that are there for them.
_TESTS = (
    *("train", "savedmodels", "pipelines_clips", "pipelines_dataset", "pipelines_labels", "pipelines_order"),
    *("pipelines_python_calls", "pipelines_records", "doctests"),
    *(f"keras_nonlocal_{begin}" for begin in ("[!cw]", "comp", "conf", "conv", "counting")),
)
# They take no part in training, so their tests may share a trained run.
_AFTER_TRAINING = (
    *("savedmodels/", "train/convert", "train/demo", "train/evaluate", "train/predict", "train/profile"),
    *("train/scoring/tables", "train/scoring/trained"),
)
_EXPLAINED = _ROOT / "benchmarks" / "equivalent_mutants.txt"
_WORKERS = 2
_CONTROLS = 6  # Runs without a mutant, at the start.
_SEED = 0


def main():
    """Plans what is not planned yet, tests mutants until the time is over, and prints the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="stop after this time; 0 only prints what is known",
    )
    parser.add_argument("--budget", type=float, default=30, help="most seconds of tests for a mutant")
    parser.add_argument("--only", default="", help="mutants of paths that begin so")
    parser.add_argument("--survivors", action="store_true", help="test the survivors once more")
    arguments = parser.parse_args()
    os.chdir(_ROOT)
    _WORK.mkdir(parents=True, exist_ok=True)
    if arguments.seconds > 0:
        try:
            fcntl.flock(os.open(_WORK / "lock", os.O_WRONLY | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(
                "Expected no other run, which changes the same files. Try: --seconds=0, to see its results"
            )
        _run_tests_with_coverage()
    from cosmic_ray.work_db import use_db

    with use_db(str(_WORK / "session.sqlite")) as session:
        if not session.num_work_items:
            session.add_work_items(_planned())
        if arguments.seconds > 0:
            _test(session, _jobs(session, arguments), _Tests(arguments.budget), arguments.seconds)
        _report(session)


def _run_tests_with_coverage():
    """Records what lines each test reaches, and its duration, for files of tests that are new or changed."""
    earlier = sorted(_WORK.glob("durations-*.xml"))
    since = earlier[-1].stat().st_mtime if earlier else 0
    files = sorted(file for name in _TESTS for file in Path("tests").glob(f"test_{name}*.py"))
    files = [str(file) for file in files if file.stat().st_mtime > since]
    if not files:
        return
    packages = sorted({Path(place).parts[0] for place in _PLACES})
    (_WORK / "coveragerc").write_text(f"[run]\nsource = {','.join(packages)}\ndata_file = {_WORK}/coverage\n")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "--numprocesses=2", "--dist=worksteal"]
    command += [
        "--cov",
        f"--cov-config={_WORK}/coveragerc",
        "--cov-context=test",
        "--cov-report=",
        "--cov-append",
    ]
    start = int(time.time())
    subprocess.run([*command, f"--junitxml={_WORK}/durations.part", *files], check=True)
    os.utime(_WORK / "durations.part", (start, start))
    os.replace(_WORK / "durations.part", _WORK / f"durations-{len(earlier)}.xml")


def _planned():
    """Returns one mutant of each kind for each place in the code, as Cosmic Ray's work items."""
    from cosmic_ray.commands.init import _all_work_items

    files = [file for place in _PLACES for file in (sorted(Path(place).rglob("*.py")) or [Path(place)])]
    at_place = collections.defaultdict(list)
    for item in _all_work_items(files, {}):
        (mutation,) = item.mutations
        kind = mutation.operator_name.split("/")[1].split("_")[0]
        at_place[mutation.module_path, mutation.start_pos, kind].append(item)
    chance = random.Random(_SEED)
    planned = [chance.choice(items) for items in at_place.values()]
    chance.shuffle(planned)
    return planned


def _jobs(session, arguments):
    """Returns the work items that this run shall test."""
    if arguments.survivors:
        completed = session.completed_work_items
        items = [item for item, result in completed if not result.is_killed and not _reason(item, result)]
    else:
        items = session.pending_work_items
    return [item for item in items if str(item.mutations[0].module_path).startswith(arguments.only)]


def _test(session, jobs, tests, seconds):
    """Tests mutants in `_WORKERS` processes, and writes each result into the session."""
    end = time.monotonic() + seconds
    todo, done = multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=_work, args=(k, todo, done)) for k in range(_WORKERS)]
    for worker in workers:
        worker.start()
    # The tests of the first pass without a mutant, or else something is wrong with the way of testing.
    steps = itertools.chain(((job, True) for job in jobs[:_CONTROLS]), ((job, False) for job in jobs))
    steps, waiting = itertools.takewhile(lambda _: time.monotonic() < end, steps), 0
    while True:
        while waiting < _WORKERS and (step := next(steps, None)):
            item, is_control = step
            todo.put((item, *tests.of(item.mutations[0]), is_control))
            waiting += 1
        if not waiting:
            break
        item, is_control, result, duration = done.get()
        waiting -= 1
        mutation = item.mutations[0]
        place = f"{mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name.split('/')[1]}"
        outcome = f"{result.test_outcome.value}{' without a mutant' if is_control else ''}"
        print(f"{duration:5.1f} s  {outcome:<9} {place}", flush=True)
        if not is_control:
            session.set_result(item.job_id, result)
        elif result.is_killed:
            for worker in workers:
                worker.terminate()
            sys.exit(f"{result.output}\nExpected these tests to pass without a mutant. Try: make test")
    for _ in workers:
        todo.put(None)
    for worker in workers:
        worker.join()


class _Tests:
    """Which tests concern a mutant."""

    def __init__(self, budget):
        import coverage

        self._budget = budget
        self._coverage = coverage.CoverageData(str(_WORK / "coverage"))
        self._coverage.read()
        self._seconds = {
            f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": float(case.get("time"))
            for file in sorted(_WORK.glob("durations-*.xml"))
            for case in xml.parse(file).iter("testcase")
        }

    def of(self, mutation):
        """Returns the tests, and how many seconds they take when all pass."""
        path, line = str(mutation.module_path), mutation.start_pos[0]
        contexts = self._coverage.contexts_by_lineno(str(_ROOT / path))
        names = set()
        # Some lines are reached by an import alone; then all tests that reach the file are asked.
        for lines in ([line], _statement(path, line), contexts):
            names = names or {name.split("|")[0] for each in lines for name in contexts.get(each, ()) if name}
        named, chosen, total = self._by_name(path), [], 0.0
        names = sorted(
            names & self._seconds.keys(), key=lambda name: (name not in named, self._seconds[name])
        )
        for name in dict.fromkeys(names + named):
            total += self._seconds[name]
            if total > self._budget and chosen:
                break
            chosen.append(name)
        return chosen, total

    def _by_name(self, path):
        """Returns the tests of a module, and of the program that it belongs to."""
        package, *rest = Path(path).with_suffix("").parts
        begins = [f"tests/test_{package}_{'_'.join(rest).strip('_')}", f"tests/test_{package}_{rest[0]}"]
        begins += ["tests/test_train_kinetics"] if package == "train" else []
        names = {name for name in self._seconds if name.startswith(tuple(begins))}
        return sorted(names, key=self._seconds.get)


def _statement(path, line):
    """Returns the lines of the smallest statement around a line."""
    around = [
        node
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno
    ]  # None is around a decorator.
    node = min(around, key=lambda node: node.end_lineno - node.lineno, default=None)
    return range(node.lineno, node.end_lineno + 1) if node else [line]


def _work(number, todo, done):
    """Makes a copy of the tree, imports what is slow to import, and tests mutants until a None comes."""
    tree = _WORK / f"tree-{number}"
    shutil.rmtree(tree, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and os.path.isfile(name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, tree / name)
    os.chdir(tree)
    os.makedirs("build/after_training")
    sys.path[:0] = [str(tree), str(tree / "tests")]
    os.environ["PYTHONPATH"] = str(tree)
    # Python would take a mutant's code for that of the one before, if both have the same size and second.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    import av  # noqa: F401
    import keras  # noqa: F401
    import pytest  # noqa: F401
    import tensorflow  # noqa: F401

    while (job := todo.get()) is not None:
        done.put(_tested(*job))


def _tested(item, names, seconds, is_control):
    """Returns (item, is_control, result, duration) of one mutant, or of the code as it is."""
    from cosmic_ray.mutating import _make_diff, use_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    (mutation,) = item.mutations
    start = time.monotonic()
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    occurrence = -1 if is_control else mutation.occurrence
    with use_mutation(mutation.module_path, operator, occurrence) as (code, mutated):
        status = 0
        if names:
            shares = str(mutation.module_path).startswith(_AFTER_TRAINING)
            status = _status_of_tests(names, shares, timeout=60 + 4 * seconds)
        diff = "\n".join(_make_diff(code, mutated or code, mutation.module_path))
    outcome = TestOutcome.SURVIVED if status == 0 else TestOutcome.KILLED
    output = Path("output.txt").read_text(errors="replace")[-3000:] if names else "No test reaches it."
    result = WorkResult(WorkerOutcome.NORMAL, f"{len(names)} tests\n{output}", outcome, diff)
    return item, is_control, result, time.monotonic() - start


def _status_of_tests(names, shares, timeout):
    """Runs tests in a forked process until one fails; returns its status: 0 if all passed."""
    Path("names.txt").write_text("\n".join(names))
    child = os.fork()
    if child == 0:
        _become_pytest(shares)
    end, status = time.monotonic() + timeout, None
    while status is None:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
        finished, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if finished else None
        time.sleep(0.02)
    return status


def _become_pytest(shares):
    """Runs the tests of names.txt, and ends the process with the status of pytest."""
    os.setsid()
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    temporary = "build/tmp"
    if shares:  # Parallel processes of pytest share a trained run beside their own directories.
        os.environ["PYTEST_XDIST_WORKER"] = "gw0"
        temporary = "build/after_training/tmp"
    status = 1
    try:
        import pytest

        plugins = [f"-pno:{name}" for name in ("cacheprovider", "xdist", "pytest_cov")]
        status = pytest.main(["-x", "-q", *plugins, f"--basetemp={temporary}", "--rootdir=.", "@names.txt"])
    finally:
        sys.stdout.flush()
        os._exit(int(status))


def _reason(item, result):
    """Returns why no test has to kill a mutant, or None."""
    path, changed = str(item.mutations[0].module_path), _changed(result)
    lines = [line.split(" | ") for line in _EXPLAINED.read_text().splitlines() if line[:1] != "#"]
    return next((reason for start, part, reason in lines if path.startswith(start) and part in changed), None)


def _changed(result):
    """Returns the lines of the code that a mutant changes, before and after."""
    return "\n".join(line for line in result.diff.splitlines()[4:] if line[:1] in "+-")


def _report(session):
    """Prints each survivor that has no explanation, and the share of killed mutants for each module."""
    killed, survived = collections.Counter(), collections.Counter()
    for item, result in session.completed_work_items:
        mutation = item.mutations[0]
        path = str(mutation.module_path)
        if result.is_killed:
            killed[path] += 1
        elif not _reason(item, result):
            survived[path] += 1
            words = f"in spite of {result.output.splitlines()[0]}\n{_changed(result)}"
            print(f"\n{path}:{mutation.start_pos[0]} {words}")
    print()
    for path in sorted(killed | survived):
        print(f"{path:<45} {killed[path]:4d} of {killed[path] + survived[path]:4d}")
    tested = killed.total() + survived.total()
    share = killed.total() / max(1, tested)
    print(f"killed {killed.total()} of {tested} mutants without the explained: {share:.1%}")
    print(f"{session.num_results} of {session.num_work_items} planned mutants were tested")


if __name__ == "__main__":
    main()
