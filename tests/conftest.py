"""What several test modules share: one training run on a small data set."""

import os
from types import SimpleNamespace

import pytest

if os.environ.get("KERAS_BACKEND") == "torch":
    import torch

    # A tensor that may be differentiated is not an array; `backends` records where a test asks for it.
    torch.set_grad_enabled(False)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished `python -m train.kinetics`: data, workdir, bad (name -> reason), stdout, stderr."""
    import small_run  # Reads videos, for which the other backends' environment has nothing.

    data, workdir = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "run"
    bad = small_run.write_data(data)
    process = small_run.train(data, workdir)
    assert process.returncode == 0, process.stderr[-3000:]
    return SimpleNamespace(data=data, workdir=workdir, bad=bad, stdout=process.stdout, stderr=process.stderr)
