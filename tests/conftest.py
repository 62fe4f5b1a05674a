"""What several test modules share: one training run on a small data set."""

from types import SimpleNamespace

import pytest
import small_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished `python -m train.kinetics`: data, workdir, bad (name -> reason), stdout, stderr."""
    data, workdir = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "run"
    bad = small_run.write_data(data)
    process = small_run.train(data, workdir)
    assert process.returncode == 0, process.stderr[-3000:]
    return SimpleNamespace(data=data, workdir=workdir, bad=bad, stdout=process.stdout, stderr=process.stderr)
