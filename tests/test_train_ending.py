"""Runs that end before their last epoch, and the epoch whose weights they keep, interrupted or not."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from test_train_resume import EVERYTHING, assert_same, dying_in, results_of, rows_of, runs_of, weights_of

from pipelines.order import Schedule
from train.config import Config
from train.loop import fitting
from train.loop.checkpoints import CheckpointError
from train.loop.ending import ended_by, kept_step
from train.loop.state import RunState

FIXED = {"ema": 0.9}


@pytest.fixture
def run(finished_run, tmp_path):
    """Function (name, flags) -> the workdir of a run of a tiny network."""
    with runs_of(finished_run.data, tmp_path) as run:
        yield run


@pytest.fixture
def validated(monkeypatch):
    """Gives validations the top-1 that the list of the fixture has and a loss of 1; keeps what they saw."""
    real, scores, seen = fitting.evaluate, [], []

    def evaluate(model, *arguments):
        seen.append(model.get_weights())
        return real(model, *arguments) | {"top1": scores[len(seen) - 1], "loss": 1.0}

    monkeypatch.setattr(fitting, "evaluate", evaluate)
    return scores, seen


def assert_weights(workdir, expected):
    for found, value in zip(weights_of(workdir), expected, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "changes, epoch, best, late, expected",
    [
        ({}, 2, 1, False, (None, 6)),
        ({}, 9, 1, True, ("epochs", 27)),
        ({"keep_epoch": "best"}, 9, 1, False, ("epochs", 6)),
        ({"keep_epoch": "best"}, 0, None, True, ("max_minutes", 0)),
        ({"patience_epochs": 2}, 3, 1, False, (None, 9)),
        ({"patience_epochs": 2}, 4, 1, False, ("patience_epochs", 12)),
        ({"patience_epochs": 2, "keep_epoch": "best"}, 4, 1, True, ("patience_epochs", 6)),
        ({"patience_epochs": 2}, 2, None, False, (None, 6)),
        ({"steps": 8}, 2, 1, False, (None, 6)),
        ({"steps": 8}, 3, 1, True, ("steps", 8)),
        ({"steps": 8, "keep_epoch": "best"}, 3, 2, False, ("steps", 8)),
        ({"steps": 8, "keep_epoch": "best"}, 3, 1, False, ("steps", 6)),
    ],
)
def test_what_ends_a_run_and_which_step_is_kept(changes, epoch, best, late, expected):
    best = None if best is None else {"epoch": best, "top1": 0.5}
    config = Config(epochs=9, warmup_epochs=0.0, **changes)
    schedule = Schedule(3, 1, config.epochs, last_step=config.steps)
    state = {"epoch": epoch, "step": schedule.steps_in(epoch), "best": best, "is_out_of_time": late}
    run = SimpleNamespace(config=config, schedule=schedule, **state)
    assert (ended_by(run), kept_step(run)) == expected


def test_the_best_epoch_is_kept_also_by_a_run_that_dies_in_its_evaluation(run, validated, capsys):
    scores, seen = validated
    scores += [0.1, 0.5, 0.5]
    flags = FIXED | {"epochs": 3, "keep_epoch": "best"}
    with dying_in(RunState, "save_scores", 2, after=True):
        run("run", **flags)
    workdir = run("run", **flags)
    assert len(seen) == 3 and any((a != b).any() for a, b in zip(seen[1], seen[2], strict=True))
    assert_weights(workdir, seen[1])
    results = results_of(workdir)
    assert (results["epoch"], results["step"], results["ended_by"]) == (2, 6, "epochs")
    assert "all epochs are done; the weights are those of epoch 2" in capsys.readouterr().out
    assert [row["val_top1"] for row in rows_of(workdir)] == ["0.1", "0.5", "0.5"]


def test_of_equal_epochs_the_one_with_the_lowest_loss_is_the_best():
    better = [(0.5, 0.9), (0.5, 0.9), (0.4, 0.1), (0.5, 0.8), (0.6, 2.0)]
    best, found = None, []
    for epoch, (top1, loss) in enumerate(better):
        if fitting._is_better({"val_top1": top1, "val_loss": loss}, best):
            best = {"epoch": epoch, "top1": top1, "loss": loss}
            found.append(epoch)
    assert found == [0, 3, 4]
    assert not fitting._is_better({"val_top1": 0.5, "val_loss": 0.1}, {"epoch": 0, "top1": 0.5})


@pytest.mark.long
def test_a_run_that_is_done_gives_another_epoch_too(run, validated):
    scores, seen = validated
    scores += [0.5, 0.1]
    flags = FIXED | {"keep_epoch": "best"}
    before = results_of(workdir := run("run", **flags))
    assert_weights(run("run", **flags | {"keep_epoch": "last"}), seen[1])
    after = results_of(workdir)
    assert (before["epoch"], after["epoch"]) == (1, 2) and before["loss"] != after["loss"]
    for path in (workdir / "checkpoints" / "best").glob("*.data*"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"best epoch, which ended at step 3.*Try: --keep_epoch=last"):
        run("run", **flags)


@pytest.mark.long
def test_training_ends_where_nothing_gets_better(run, validated, capsys):
    scores, _ = validated
    scores += [0.2, 0.4, 0.4, 0.3]
    flags = FIXED | {"epochs": 9, "patience_epochs": 2}
    with dying_in(fitting._Saves, "on_epoch_end", 3, after=True):
        run("run", **flags)
    workdir = run("run", **flags)
    results = results_of(workdir)
    assert (results["epoch"], results["step"], results["ended_by"]) == (4, 12, "patience_epochs")
    assert [row["epoch"] for row in rows_of(workdir)] == ["1", "2", "3", "4"]
    said = capsys.readouterr().out
    assert re.search("^training has ended: no better top-1 in 2 epochs; .* epoch 4$", said, re.M)
    run("run", **flags)
    assert "this run is done, no better top-1 in 2 epochs" in capsys.readouterr().out


@pytest.mark.long
def test_training_ends_in_time_and_goes_on_if_it_gets_more(run, monkeypatch, capsys):
    """A minute a step: the second epoch has three steps, and one of them is done in time."""
    monkeypatch.setattr(RunState, "seconds", property(lambda run: 60.0 * run.step))
    flags = EVERYTHING | {"max_minutes": 4.0}
    with dying_in(RunState, "save_scores", 2, after=True):
        run("run", **flags)
    workdir = run("run", **flags)
    results = results_of(workdir)
    assert (results["epoch"], results["step"], results["ended_by"]) == (1, 4, "max_minutes")
    assert "4 minutes are over; the weights are those of step 4, within epoch 2" in capsys.readouterr().out
    assert [row["steps"] for row in rows_of(workdir)] == ["3"]
    in_time = weights_of(workdir)
    run("run", **flags | {"keep_epoch": "best"})
    assert results_of(workdir)["step"] == 3
    run("run", **flags)
    assert_weights(workdir, in_time)
    assert_same(run("whole", **EVERYTHING), run("run", **flags | {"max_minutes": 0.0}))
