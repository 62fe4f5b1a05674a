"""What all tests share: memory that is given back, and one training run on a small data set."""

import ctypes
import fcntl
import gc
import json
import os
import resource
import sys
from types import SimpleNamespace

import pytest

if os.environ.get("KERAS_BACKEND") == "torch":
    import torch

    # A tensor that may be differentiated is not an array; `backends` records where a test asks for it.
    torch.set_grad_enabled(False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Escapes what UTF-8 has not, such as names of files: parallel processes send their reports in UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


_peaks = [0]  # The process's largest memory at each collection.


@pytest.fixture(autouse=True)
def memory_is_given_back():
    """Collects networks and graphs, which refer to themselves, whenever the process has grown by a tenth.

    Python collects after many new objects; a few that hold gigabytes of weights do not count for it.
    """
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if peak > 1.1 * _peaks[-1]:
        gc.collect()
        _peaks.append(peak)


@pytest.fixture(autouse=True, scope="module")
def memory_of_a_module_is_given_back():
    """Collects what the module's own fixtures held, and returns free pages to the system."""
    yield
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished `python -m train.kinetics`: data, workdir, bad (name -> reason), stdout, stderr.

    Parallel processes of pytest share it: the first makes it, and the others wait for that.
    """
    import small_run  # Reads videos, for which the other backends' environment has nothing.

    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished_run"
    directory.mkdir(exist_ok=True)
    data, workdir, outcome = directory / "data", directory / "run", directory / "outcome.json"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            bad = small_run.write_data(data)
            process = small_run.train(data, workdir)
            assert process.returncode == 0, process.stderr[-3000:]
            outcome.write_text(json.dumps({"bad": bad, "stdout": process.stdout, "stderr": process.stderr}))
    return SimpleNamespace(data=data, workdir=workdir, **json.loads(outcome.read_text()))
