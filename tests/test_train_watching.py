"""What one sees of a run: its line in a terminal, what is left of it, TensorBoard's files and curves.csv."""

import csv
import io
import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import small_run
import tensorflow as tf

from pipelines.order import WHOLE, Schedule
from train.command_line import read_config
from train.config import Config
from train.loop.trainer import _timed_next
from train.loop.watching import COLUMNS, Line, Pace, write_curves


def a_run(steps=10, videos=30, last_step=0, **changes):
    """Returns what `Pace` and `Line` look at of a run that has done nothing yet."""
    flags = {"epochs": 4, "warmup_epochs": 0.0, "batch_size": 6, "crop": 100, "test_size": 200}
    flags |= {"test_clips": 2, "test_crops": 3}
    data, config = (
        SimpleNamespace(val=SimpleNamespace(manifest=range(videos))),
        Config(**flags | changes, steps=last_step),
    )
    schedule = Schedule(steps * config.batch_size, config.batch_size, config.epochs, last_step=config.steps)
    return SimpleNamespace(
        config=config,
        data=data,
        workers=SimpleNamespace(part=WHOLE),
        schedule=schedule,
        step=0,
        epoch=0,
        seconds=0.0,
        seconds_per_view=None,
    )


def test_what_is_left_of_a_run():
    run = a_run()
    pace = Pace(run)
    for seconds in (2.0, 1.0, 3.0, 2.0):
        pace.add_step(seconds)
    assert not pace.is_known
    pace.add_step(2.0)
    assert pace.is_known and pace.step == 2.0
    # A third of 2 s / 6 clips, times 4 for the pixels, is 4/9 s a view.
    assert pace.validation == pytest.approx(30 * 4 / 9) and pace.evaluation == pytest.approx(6 * 30 * 4 / 9)
    run.step, run.epoch, run.seconds_per_view = 12, 1, 0.1
    assert pace.training == pytest.approx(28 * 2 + 3 * 3) and pace.left == pytest.approx(65 + 18)
    assert pace.words() == "about 1 min 23 s to go: 23 s an epoch, evaluation 18 s"


def test_what_is_left_of_a_run_by_steps_with_precise_norms_and_a_consensus():
    run = a_run(steps=10, last_step=25, precise_batch_norm=6, sampling="dense", consensus_clips=2)
    pace = Pace(run)
    for _ in range(5):
        pace.add_step(3.0)
    # 3 s / (6 * 2 clips) / 3, times 4 for the pixels, are 1/3 s a view; 6 batches forward take 6 s.
    assert pace.validation == pytest.approx(10) and pace.statistics == pytest.approx(6)
    run.step, run.epoch = 20, 2
    assert pace.training == pytest.approx(5 * 3 + 16) and pace.left == pytest.approx(31 + 60 + 6)
    assert "46 s an epoch, evaluation 1 min 6 s" in pace.words()


def test_what_max_minutes_leave_of_a_run():
    run = a_run(max_minutes=1.0)
    run.step, run.epoch, run.seconds, run.seconds_per_view = 12, 1, 30.0, 0.1
    pace = Pace(run)
    for _ in range(5):
        pace.add_step(2.0)
    assert pace.left == pytest.approx(30 + 18)
    assert "--max_minutes=1 ends training in epoch 3 of 4, before" in pace.words()
    run.seconds = 70.0
    assert pace.left == pytest.approx(18)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("out", [Terminal, io.StringIO])
def test_a_line_fits_a_terminal_and_says_how_far_the_run_is(out, monkeypatch):
    out, clock = out(), [0.0]
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run = a_run(steps=20_000, videos=20_000, epochs=100, test_clips=10)
    line, logs = Line(run), {"loss": 12.34567, "top1": 0.5, "top5": 1.0, "waited": 0.1}
    for step in range(1, 9):
        run.step = step
        line.on_train_batch_begin(0)
        clock[0] += 31
        line.on_train_batch_end(0, logs)
    run.step = 20_000
    line.on_train_batch_end(0, logs)
    line.on_epoch_end(0, logs | {"val_loss": 2.5, "val_top1": 0.25, "val_top5": 1.0})
    said = [part.removesuffix("\033[K") for part in re.split(r"[\n\r]+", out.getvalue()) if part]
    assert all(len(part) < 80 for part in said)
    assert sum("to go: " in part for part in said) == 2
    shown = [part for part in said if "8/20000" in part]
    (last,) = (part for part in said if "val_loss" in part)
    assert last.strip() == "Epoch 1/100  loss 12.3457  top1 50.0%  val_loss 2.5000  val_top1 25.0%"
    pattern = r"Epoch 1/100  8/20000  \d+ d( \d+ h)? left  loss 12.3457  top1 50.0%"
    assert len(shown) == 1 and re.fullmatch(pattern, shown[0])
    assert any("validation ..." in part for part in said) == out.isatty()
    assert out.getvalue().endswith("\n")


def test_a_line_is_cut_where_a_terminal_is_narrow(monkeypatch):
    monkeypatch.setattr("sys.stdout", out := Terminal())
    monkeypatch.setenv("COLUMNS", "30")
    run = a_run(steps=1)
    run.step = 1
    Line(run).on_train_batch_end(0, {"loss": 1.0, "top1": 0.5, "waited": 0.0})
    assert out.getvalue() == "Epoch 1/4  1/1  validation ...  loss"[:29] + "\033[K\r"


def test_a_step_is_timed_from_the_request_of_its_batch():
    def slow():
        for number in range(3):
            time.sleep(0.3 * (number == 1))
            yield number

    iterator = iter(tf.data.Dataset.from_generator(slow, tf.int32))
    step = tf.function(lambda: _timed_next(iterator))
    (first, _), (second, waited), (third, short) = step(), step(), step()
    assert [int(first), int(second), int(third)] == [0, 1, 2]
    assert 0.25 < waited < 2 and short < 0.2


@pytest.fixture(scope="module")
def points(finished_run):
    """{split: {tag: {step: tensor}}} of the TensorBoard files of a run."""
    found = {}
    for path in finished_run.workdir.glob("tensorboard/*/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags = found.setdefault(path.parent.name, {})
                tags.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def rows_of(workdir):
    with open(workdir / "curves.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_tensorboard_has_steps_epochs_and_flags(finished_run, points):
    assert points["train"].keys() == {
        *("flags", "step/loss", "step/learning_rate", "step/gradient_norm"),
        *("time/clips_per_second", "time/waiting_for_input"),
        *("epoch_loss", "epoch_top1", "epoch_top5", "epoch_learning_rate"),
    }
    assert points["validation"].keys() == {"epoch_loss", "epoch_top1", "epoch_top5"}
    steps = {1, 2, 3, 4, 5, 6}
    assert all(points["train"][f"step/{name}"].keys() == steps for name in ("loss", "gradient_norm"))
    assert points["train"]["step/learning_rate"][1] == pytest.approx(small_run.FLAGS["learning_rate"])
    losses = [points["train"]["step/loss"][step] for step in (4, 5, 6)]
    assert points["train"]["epoch_loss"][1] == pytest.approx(np.mean(losses), rel=1e-5)
    # The first step of an epoch waits for what no one timed.
    assert points["train"]["time/waiting_for_input"].keys() == {2, 3, 5, 6}
    assert all(0 <= share <= 1 for share in points["train"]["time/waiting_for_input"].values())
    assert all(value > 0 for value in points["train"]["time/clips_per_second"].values())
    (text,) = points["train"]["flags"].values()
    config = read_config(finished_run.workdir)
    assert [line.strip() for line in text.item().decode().splitlines()] == config.to_flags().splitlines()


def test_curves_are_those_of_tensorboard(finished_run, points):
    rows = rows_of(finished_run.workdir)
    assert tuple(rows[0]) == COLUMNS and [(row["epoch"], row["steps"]) for row in rows] == [
        ("1", "3"),
        ("2", "6"),
    ]
    for epoch, row in enumerate(rows):
        for name in ("loss", "top1", "top5", "learning_rate"):
            assert float(row[name]) == points["train"][f"epoch_{name}"][epoch]
        for name in ("loss", "top1", "top5"):
            assert np.float32(row[f"val_{name}"]) == points["validation"][f"epoch_{name}"][epoch]
    results = json.loads((finished_run.workdir / "results.json").read_text())
    assert float(rows[0]["seconds"]) < float(rows[1]["seconds"]) <= results["train_seconds"]


def test_curves_that_cannot_be_written_end_no_run(tmp_path, caplog):
    run = a_run(workdir=str(tmp_path / "gone"))
    run.history = []
    write_curves(run)
    assert "The curves cannot be written: " in caplog.text


def test_a_run_says_where_its_curves_are_and_what_it_does(finished_run):
    said = finished_run.stdout
    (command,) = re.findall(r"^curves: (.*)$", said, re.M)
    assert command.endswith(f"python -m tensorboard.main --logdir={finished_run.workdir}/tensorboard")
    assert (
        len(re.findall(r"^Epoch \d/2  loss [\d.]+  top1 [\d.]+%  val_loss [\d.]+  val_top1 ", said, re.M))
        == 2
    )
    assert len(re.findall(r"^about .* to go: .* an epoch, evaluation \d+ ", said, re.M)) == 1
    assert "training has ended: all epochs are done; the weights are those of epoch 2" in said
