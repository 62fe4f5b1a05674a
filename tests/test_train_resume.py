"""Runs that end too early, killed, stopped, out of disk or without a finite loss, go on exactly."""

import contextlib
import csv
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import small_run
import tensorflow as tf
from absl import flags

import train.__main__ as program
from train.command_line import config_from_flags, define_flags, read_config
from train.config import Config
from train.config.fields import parse
from train.data import open_data
from train.loop import fitting
from train.loop import run as loop
from train.loop.checkpoints import CheckpointError, Checkpoints
from train.loop.optim import SGD
from train.loop.state import RunState, Validation
from train.loop.stopping import Stopped
from train.loop.trainer import Trainer
from train.loop.workdir import claim_workdir
from train.network import build_network

TIMES = ("train_seconds", "seconds_per_video")


def curves(workdir):
    """Returns {(split, tag, step): value} of TensorBoard's files; what stands there twice is the same.

    What is measured in seconds is left out.
    """
    found = {}
    for path in workdir.glob("tensorboard/*/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                made = tf.make_ndarray(value.tensor)
                if made.dtype.kind == "f" and not value.tag.startswith("time/"):
                    assert found.setdefault((path.parent.name, value.tag, event.step), made) == made
    return found


def rows_of(workdir):
    """Returns the rows of curves.csv without the seconds."""
    with open(workdir / "curves.csv", newline="") as file:
        return [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]


def results_of(workdir):
    """Returns the results of a run without its times."""
    results = json.loads((workdir / "results.json").read_text())
    return {name: value for name, value in results.items() if name not in TIMES}


def weights_of(workdir):
    """Returns the weights of a run's model."""
    return keras.saving.load_model(workdir / "model.keras").get_weights()


def assert_same(one, other):
    """Two runs gave the same weights, results and curves, bit for bit."""
    for left, right in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(left, right)
    assert results_of(one) == results_of(other)
    assert len(curves(one)) >= 14 + 3 * 6 and curves(one) == curves(other)
    assert rows_of(one) == rows_of(other)


class Died(BaseException):
    """What ends a run in a test as a kill would: nothing is saved for it."""


def tiny_network(config, num_classes):
    """A network with what a run has to keep: statistics, draws of a dropout, momenta."""
    clip = keras.Input((config.clip_frames, None, None, 3))
    x = keras.layers.Conv3D(8, (1, 9, 9), (1, 8, 8))(clip)
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dense(600, activation="relu")(x)
    x = keras.layers.Dropout(config.dropout)(x)
    return keras.Model(clip, keras.layers.Dense(num_classes, dtype="float32")(x), name="tiny")


@contextlib.contextmanager
def runs_of(data, directory):
    """Gives a function (name, flags) -> the workdir of a run of a tiny network."""
    names = {field.name for field in dataclasses.fields(Config)}
    flags = {name: value for name, value in small_run.FLAGS.items() if name in names}
    flags |= {"train_annotations": "train.csv", "val_annotations": "val.csv", "checkpoint_steps": 1}
    flags |= {"blocks": ("res3_0",), "dropout": 0.3, "data_dir": str(data), "learning_rate": 0.1}

    def run(name, strategy=None, **changes):
        config = Config(workdir=str(directory / name), **flags | changes)
        try:
            loop.train_and_evaluate(config, open_data(config), strategy)
        finally:
            keras.config.set_dtype_policy("float32")
        return directory / name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_network", tiny_network)
        yield run


@pytest.fixture
def run(finished_run, tmp_path):
    """Function (name, flags) -> the workdir of a run of a tiny network."""
    with runs_of(finished_run.data, tmp_path) as run:
        yield run


# All of which a checkpoint has to hold a part.
EVERYTHING = {
    "clip_norm": 1.0,
    "mixup": 0.2,
    "label_smoothing": 0.1,
    "ema": 0.9,
    "accumulation": 2,
    "nesterov": True,
    "schedule": "steps",
    "decay_epochs": (0.5, 1.5),
}


@pytest.fixture(scope="module")
def whole(finished_run, tmp_path_factory):
    """The workdir of a run that nothing interrupted."""
    with runs_of(finished_run.data, tmp_path_factory.mktemp("whole")) as run:
        return run("run", **EVERYTHING)


@contextlib.contextmanager
def dying_in(of, method, call, after=False):
    """Lets a method die at its call of that number, before or after it does its work."""
    real, calls = getattr(of, method), []

    def dying(self, *arguments, **options):
        calls.append(None)
        if len(calls) == call and not after:
            raise Died
        made = real(self, *arguments, **options)
        if len(calls) == call:
            raise Died
        return made

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(of, method, dying)
        yield


# The run has two epochs of three steps each, with a checkpoint at each step and each epoch's end.
INSTANTS = {
    "before the first checkpoint": (RunState, "save", 1),
    "in a step": (fitting._Watch, "on_train_batch_end", 2),
    "before a checkpoint is written": (RunState, "save", 3),
    "after the last step of an epoch": (RunState, "save", 4, True),
    "after an epoch": (fitting._Saves, "on_epoch_end", 1, True),
    "within the second epoch": (fitting._Saves, "on_train_batch_end", 5, True),
    "after training": (fitting._Saves, "on_epoch_end", 2, True),
    "in the evaluation": (RunState, "save_scores", 2, True),
}
SHORT = ("before a checkpoint is written", "in the evaluation")


@pytest.mark.long
def test_a_residual_network_goes_on_exactly(finished_run, tmp_path):
    # It is undone before that of `runs_of`; else the tiny network would stay for other tests.
    with runs_of(finished_run.data, tmp_path) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_network", build_network)
        flags = {"depth": 18, "crop": 64, "test_size": 64, "short_side": 72, "epochs": 4}
        run("whole", **flags)
        with dying_in(fitting._Saves, "on_train_batch_end", 5):
            run("run", **flags)
        assert_same(tmp_path / "whole", run("run", **flags))


@pytest.mark.parametrize(
    "instant", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in INSTANTS]
)
def test_a_run_that_dies_goes_on_to_the_same_end(instant, run, whole):
    with dying_in(*INSTANTS[instant]):
        run("run", **EVERYTHING)
    workdir = run("run", **EVERYTHING)
    assert_same(whole, workdir)
    assert not list(workdir.glob("*partial*"))


@pytest.mark.long
@pytest.mark.parametrize(
    "number, of, method, call",
    [
        (signal.SIGTERM, fitting._Watch, "on_train_batch_end", 3),
        (signal.SIGINT, Validation, "on_predict_batch_end", 1),
    ],
)
def test_a_signal_ends_a_run_between_two_batches_and_it_goes_on(number, of, method, call, run, whole):
    real, calls = getattr(of, method), []

    def signalled(self, *arguments, **options):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return real(self, *arguments, **options)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background ignores it.
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match=number.name):
        patch.setattr(of, method, signalled)
        run("run", **EVERYTHING)
    signal.signal(signal.SIGINT, before)
    assert len(calls) == call
    assert_same(whole, run("run", **EVERYTHING))


@pytest.mark.parametrize("ended, status", [(Stopped("SIGTERM"), 75), (KeyboardInterrupt(), 130)])
def test_the_status_of_a_program_tells_how_it_ended(
    ended, status, finished_run, tmp_path, capsys, monkeypatch
):
    def train_and_evaluate(config, data, strategy):
        data.close()
        raise ended

    monkeypatch.setattr(program, "train_and_evaluate", train_and_evaluate)
    flag_values = flags.FlagValues()
    define_flags(flag_values, train_annotations="train.csv", val_annotations="val.csv")
    arguments = small_run.train_arguments(finished_run.data, tmp_path / "run")
    with pytest.raises(SystemExit) as raised:
        program.main(parse(["train", *arguments], flag_values), flag_values)
    assert raised.value.code == status
    assert "the same command goes on" in capsys.readouterr().err


def test_a_run_is_alone_in_its_workdir(tmp_path):
    config = Config(data_dir="d", workdir=str(tmp_path))
    with claim_workdir(config), pytest.raises(FileExistsError, match=r"Expected to be alone in .*Try: wait"):
        claim_workdir(config)
    claim_workdir(config).close()


def test_a_diverging_run_writes_no_model(run, tmp_path):
    with pytest.raises(FloatingPointError, match=r"Received loss .*Try: --learning_rate=1e\+29, in a new"):
        run("run", learning_rate=1e30, clip_norm=1e30)
    assert not (tmp_path / "run" / "model.keras").exists()


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", ["bit", "cut", "index", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(harm, tmp_path, caplog):
    variable = keras.Variable(np.zeros(5000, "float32"))
    checkpoints = Checkpoints(tmp_path, [variable], keep=2)
    for step in (1, 2, 3):
        variable.assign(np.full(5000, step, "float32"))
        checkpoints.save({"step": step})
    assert checkpoints.steps() == [3, 2]
    (data,) = tmp_path.glob("step-3-0.data*")
    if harm == "bit":
        damage(data)
    elif harm == "cut":
        data.write_bytes(data.read_bytes()[:9000])
    elif harm == "index":
        (tmp_path / "step-3-0.index").write_bytes(b"")
    else:
        data.unlink()
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe")
    (tmp_path / "step-4-0_temp").mkdir()
    (tmp_path / "step-4-0.data-00000-of-00001").write_bytes(b"half")
    again = Checkpoints(tmp_path, [variable], keep=2)
    assert again.restore()["step"] == 2
    assert "step-3-0 is damaged, and the one before it is taken" in caplog.text
    np.testing.assert_array_equal(variable, np.full(5000, 2))
    assert not list(tmp_path.glob("step-[34]*"))
    again.save({"step": 1}, is_best=True)
    damage(next(tmp_path.glob("step-2-0.data*")))
    assert again.restore()["step"] == 1
    again.save({"step": 2})
    for data in tmp_path.rglob("*.data*"):
        damage(data)
    with pytest.raises(CheckpointError, match="Received 2 damaged ones"):
        again.restore()


def test_a_checkpoint_is_never_written_over(tmp_path):
    directory = tmp_path / "a"
    variable = keras.Variable(np.zeros(5000, "float32"))
    checkpoints = Checkpoints(directory, [variable], keep=1)
    checkpoints.save({"step": 7})
    first = {path.name: path.read_bytes() for path in directory.iterdir()}
    variable.assign(np.ones(5000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.loop.checkpoints._remove", lambda path: None)
        checkpoints.save({"step": 7})
    for name, content in first.items():
        assert (directory / name).read_bytes() == content
    assert checkpoints.steps() == [7, 7] and Checkpoints(directory, [variable], keep=1).restore()["step"] == 7
    np.testing.assert_array_equal(variable, np.ones(5000))
    checkpoints.save({"step": 8})
    assert checkpoints.steps() == [8] and len(list(directory.iterdir())) == 2


def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not take for a pattern. Received .* with \[ \]. Try"):
        Checkpoints(tmp_path / "a[1]", [keras.Variable(np.zeros(5))], keep=2)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    Checkpoints(tmp_path, [keras.Variable(np.zeros(5))], keep=2).save({"step": 1})
    with pytest.raises(CheckpointError, match=r"with other variables; it was made by keras_nonlocal .*Try"):
        Checkpoints(tmp_path, [keras.Variable(np.zeros(6))], keep=2).restore()


@contextlib.contextmanager
def small_disk(megabytes):
    """Lets no file become larger, as a quota would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(megabytes * 1e6), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path):
    variable = keras.Variable(np.zeros(500_000, "float32"))
    checkpoints = Checkpoints(tmp_path, [variable], keep=2)
    checkpoints.save({"step": 1})
    with (
        small_disk(1),
        pytest.raises(CheckpointError, match=r"of step 2 to .*Received: .*Try: room on the disk"),
    ):
        checkpoints.save({"step": 2})
    assert checkpoints.steps() == [1] and not list(tmp_path.glob("*temp*"))
    assert checkpoints.restore()["step"] == 1
    checkpoints.save({"step": 2})
    assert checkpoints.steps() == [2, 1]


@pytest.mark.long
def test_a_run_goes_on_while_its_disk_is_full(run, whole, caplog):
    real = Checkpoints.save

    def save(self, rest, is_best=False):
        with small_disk(0.01) if rest["step"] in (2, 3) else contextlib.nullcontext():
            real(self, rest, is_best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        workdir = run("run", **EVERYTHING)
    assert caplog.text.count("The run goes on without") >= 2
    assert_same(whole, workdir)


def lose(step, times=1):
    """Returns a callback that makes the loss of a step NaN, the first times."""
    real, left = fitting._Watch.on_train_batch_end, [times]

    def on_train_batch_end(self, batch, logs=None):
        if self._run.step + 1 == step and left[0]:
            left[0] -= 1
            logs["batch_loss"] = np.nan
        return real(self, batch, logs)

    return on_train_batch_end


def test_a_lost_loss_ends_the_run_and_names_the_videos(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting._Watch, "on_train_batch_end", lose(5))
        with pytest.raises(FloatingPointError) as raised:
            run("run")
    text = str(raised.value)
    assert re.match(
        r"Expected finite losses and weights. Received loss nan and a gradient of norm .* in step 5", text
    )
    assert 4 < len(re.findall(r"\.mp4", text)) <= 8 and "--nan_policy=rewind" in text


def test_a_lost_loss_is_left_out(run, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting._Watch, "on_train_batch_end", lose(5))
        workdir = run("run", nan_policy="rewind", checkpoint_steps=2)
    assert "The run goes back to step 3, and shows others then." in caplog.text
    state = json.loads(
        tf.train.load_checkpoint(str(workdir / "checkpoints" / "step-6-0")).get_tensor(
            "rest/.ATTRIBUTES/VARIABLE_VALUE"
        )
    )
    assert (state["skipped"], state["step"]) == ([4], 6)
    assert results_of(workdir)["data"]["train"]["replaced_clips"] >= 8


@pytest.mark.long
def test_a_loss_that_stays_lost_ends_the_run(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting._Watch, "on_train_batch_end", lose(5, times=9))
        with pytest.raises(FloatingPointError, match="in step 5"):
            run("run", nan_policy="rewind")


@pytest.mark.long
def test_overflows_in_float16_are_survived_and_counted(run, capsys, monkeypatch):
    real = keras.optimizers.LossScaleOptimizer.build

    def build(self, variables):
        real(self, variables)
        self.dynamic_scale.assign(2.0**40)

    monkeypatch.setattr(keras.optimizers.LossScaleOptimizer, "build", build)
    workdir = run("run", dtype_policy="mixed_float16", epochs=12)
    (found,) = set(re.findall(r"; (\d+) steps overflowed in float16", capsys.readouterr().out)[-1:])
    assert 10 < int(found) < 36
    assert np.isfinite(results_of(workdir)["loss"])


def flags_of(*arguments):
    """Returns the configuration of a command line."""
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    return config_from_flags(flag_values if parse(["", *arguments], flag_values) else None)


def test_more_epochs_keep_the_warm_up(tmp_path):
    arguments = ["--data_dir=d", f"--workdir={tmp_path}"]
    claim_workdir(flags_of(*arguments, "--epochs=10")).close()
    longer = flags_of(*arguments, "--epochs=20")
    assert longer.warmup_epochs == 1.0
    claim_workdir(longer).close()
    assert flags_of(*arguments, "--epochs=20", "--warmup_epochs=2").warmup_epochs == 2.0


def test_only_the_warm_up_of_a_run_in_the_workdir_is_kept(tmp_path, monkeypatch):
    arguments = ["--data_dir=d", f"--workdir={tmp_path}"]
    claim_workdir(flags_of(*arguments, "--epochs=10", "--warmup_epochs=0")).close()
    assert flags_of(*arguments, "--epochs=20").warmup_epochs == 0
    (tmp_path / "run.flags").write_text("--warmup_epochs=5.0\n")
    assert flags_of(*arguments, "--epochs=3").warmup_epochs == 0.3
    monkeypatch.chdir(tmp_path)  # A program without a workdir looks at no run.
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["", "--epochs=20"], flag_values)
    assert config_from_flags(flag_values, needed=()).warmup_epochs == 2.0


def test_other_videos_are_refused(finished_run, run, tmp_path):
    data = shutil.copytree(finished_run.data, tmp_path / "data")
    with dying_in(fitting._Watch, "on_train_batch_end", 2):
        run("run", data_dir=str(data))
    lines = (data / "train.csv").read_text().splitlines(keepends=True)
    (data / "train.csv").write_text("".join(lines[:-1]))
    with pytest.raises(CheckpointError, match=r"Expected the videos .* Received others.*Try: what they were"):
        run("run", data_dir=str(data))


@pytest.mark.long
def test_more_epochs_may_follow_and_fewer_not(run, capsys):
    workdir = run("run", epochs=1)
    before = results_of(workdir)
    capsys.readouterr()
    assert results_of(run("run", epochs=1)) == before and "this run is done" in capsys.readouterr().out
    run("run", epochs=2, keep_checkpoints=1)
    said = capsys.readouterr().out
    assert "from its checkpoint of step 3 of 6" in said and "Epoch 2/2" in said and "Epoch 1/2" not in said
    assert results_of(workdir) != before
    for changes in ({"epochs": 1}, {"epochs": 3, "momentum": 0.8}):
        with pytest.raises(FileExistsError, match="with other flags") as raised:
            run("run", **changes)
        assert ("--epochs" in str(raised.value)) == (changes["epochs"] == 1)


@pytest.mark.long
def test_parts_of_a_batch_train_as_the_whole(run, monkeypatch):
    monkeypatch.setattr(keras.layers, "BatchNormalization", lambda momentum: keras.layers.Identity())
    flags = {"dropout": 0.0, "epochs": 1, "clip_norm": 0.1}
    whole, parts = run("whole", **flags), run("parts", accumulation=4, **flags)
    for left, right in zip(weights_of(whole), weights_of(parts), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    np.testing.assert_allclose(
        curves(whole)["train", "epoch_loss", 0], curves(parts)["train", "epoch_loss", 0], rtol=1e-6
    )


def test_weights_without_a_gradient_decay_alone():
    inputs = keras.Input((3,))
    used, unused = keras.layers.Dense(2, name="used"), keras.layers.Dense(2, name="unused")
    model = Trainer(inputs, used(inputs) + 0.0 * keras.ops.stop_gradient(unused(inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.1, decay=0.5), loss=loss, jit_compile=False)
    (before, _), kernel = unused.get_weights(), used.get_weights()[0]
    logs = tf.function(model.train_step)((tf.ones((4, 3)), tf.constant([0, 1, 0, 1])))
    np.testing.assert_allclose(unused.get_weights()[0], (1 - 0.1 * 0.5) * before, rtol=1e-6)
    assert np.isfinite(logs["gradient_norm"]) and np.abs(used.get_weights()[0] - kernel).max() > 0.01


# One and two devices train on the same batches; TensorFlow is told of devices once a process.
DEVICES = """
import sys
import keras
import tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, "tests")
from test_train_resume import runs_of
with runs_of(Path(sys.argv[1]), Path(sys.argv[2])) as run:
    flags = dict(dropout=0.0, ema=0.9, clip_norm=0.3, synchronized_batch_norm=True, precise_batch_norm=2)
    for devices in (1, 2):
        names = [f"CPU:{number}" for number in range(devices)]
        reduce = tf.distribute.HierarchicalCopyAllReduce()
        strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=reduce)
        run(str(devices), strategy=strategy, **flags)
from train.loop.trainer import Trainer
with strategy.scope():
    inputs = keras.Input((3,))
    norm = keras.layers.BatchNormalization()
    model = Trainer(inputs, norm(inputs))
means = norm.moving_mean.value
for number, value in enumerate(strategy.experimental_local_results(means)):
    value.assign([number, 2.0, 3.0])
model.share_statistics()
assert [value.numpy().tolist() for value in strategy.experimental_local_results(means)] == [[0.5, 2, 3]] * 2
"""


@pytest.mark.long
def test_two_devices_train_as_one(finished_run, tmp_path):
    process = small_run.run_python("-c", DEVICES, finished_run.data, tmp_path)
    assert process.returncode == 0, process.stderr[-3000:]
    one, two = (weights_of(tmp_path / name) for name in "12")
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    one, two = (results_of(tmp_path / name) for name in "12")
    assert one["top1"] == two["top1"] and one["data"] == two["data"]
    one, two = (curves(tmp_path / name) for name in "12")
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-5, err_msg=str(key))


@pytest.mark.long
def test_runs_that_are_killed_at_any_instant_end_in_the_same_weights(finished_run, tmp_path):
    """The same with 200 kills: `python tests/lives.py DATA DIRECTORY`."""
    script = small_run.ROOT / "tests" / "lives.py"
    process = small_run.run_python(script, finished_run.data, tmp_path, "--kills=20", timeout=900)
    assert process.returncode == 0, process.stderr[-3000:]
    assert re.search(r"^2\d kills in \d+ runs, each of which ended in the same weights", process.stdout)


def processes_under(parent):
    """Returns the numbers of all processes that a process has started, and of those that these have."""
    of_threads = [path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")]
    children = [int(number) for numbers in of_threads for number in numbers]
    return children + [number for child in children for number in processes_under(child)]


def is_running(number):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.long
def test_a_killed_run_leaves_no_process_and_no_lock_behind(finished_run, tmp_path):
    flags = {"decode_isolation": "process", "epochs": 30, "checkpoint_steps": 1}
    arguments = small_run.train_arguments(finished_run.data, tmp_path / "run", **flags)
    process = small_run.start_module("train.kinetics", *arguments)
    for line in process.stdout:
        if b"Epoch 2/" in line:
            break
    helpers = processes_under(process.pid)
    assert len(helpers) >= 2 and all(map(is_running, helpers))
    os.kill(helpers[-1], signal.SIGKILL)  # The run replaces it.
    for line in process.stdout:
        if b"Epoch 3/" in line:
            break
    helpers = processes_under(process.pid)
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    while any(map(is_running, helpers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [number for number in helpers if is_running(number)]
    claim_workdir(read_config(str(tmp_path / "run"))).close()
