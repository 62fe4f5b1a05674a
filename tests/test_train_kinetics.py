"""The main job on a small data set with every kind of bad video in it, as a user runs it."""

import json
import re
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import small_run
from test_train_refusals import said

from pipelines.account import Account
from pipelines.manifest.annotations import read_kinetics
from pipelines.video_files import VideoFiles
from train.command_line import read_config
from train.loop.workdir import check_room
from train.scoring.evaluation import evaluate


def refused(data, workdir, **changes):
    """Returns the error with which a run ends before it trains."""
    changes |= {"train_annotations": "train.csv", "val_annotations": "val.csv"}
    return said(*small_run.train_arguments(data, workdir, **changes))


def test_run_writes_what_it_promises(finished_run):
    written = {path.name for path in finished_run.workdir.iterdir()}
    assert written == {
        "run.flags",
        "run.lock",
        "checkpoints",
        "tensorboard",
        "curves.csv",
        "bad_videos_train.csv",
        "bad_videos_val.csv",
        "model.keras",
        "serving.json",
        "scores_val.npz",
        "results.json",
        "report.html",
    }
    assert list(finished_run.workdir.glob("tensorboard/*/events*"))
    results = json.loads((finished_run.workdir / "results.json").read_text())
    assert (results["videos"], results["clips"], results["crops"]) == (small_run.GOOD_VAL, 2, 3)
    assert 0 <= results["top1"] <= results["top5"] <= 1
    words = r"top-1 [\d.]+%, top-5 [\d.]+%, mean class accuracy [\d.]+% on 8 videos, .* s per video"
    assert re.search(words, finished_run.stdout)


def test_bad_videos_are_named_with_their_reason_and_counted(finished_run):
    results = json.loads((finished_run.workdir / "results.json").read_text())
    account = results["data"]["train"]
    reasons = account["bad"]
    assert account["skipped"] == len(finished_run.bad) == len(reasons)
    for name, reason in finished_run.bad.items():
        (path,) = (path for path in reasons if name in path)
        assert reason in reasons[path]
        assert f"Bad video skipped: {path}: " in finished_run.stderr
        assert path in (finished_run.workdir / "bad_videos_train.csv").read_text()
    epochs = re.findall(r"bad videos skipped: (\d) of 31 videos.*, 1 of 9 videos", finished_run.stdout)
    assert len(epochs) == small_run.FLAGS["epochs"] and epochs[-1] == str(len(finished_run.bad))


def test_the_account_of_the_data_adds_up(finished_run):
    accounts = json.loads((finished_run.workdir / "results.json").read_text())["data"]
    train, val = accounts["train"], accounts["val"]
    # Each epoch leaves out what fills no batch.
    assert train["videos"] == 31 and train["used"] + train["never_read"] == 25 and train["used"] > 20
    assert sum(train["skipped_reasons"].values()) == train["skipped"] == 6
    assert train["replaced_clips"] > 0
    assert (val["videos"], val["used"], val["skipped"], val["never_read"]) == (9, 8, 1, 0)
    manifest = read_kinetics(finished_run.data, "train.csv")
    assert train["manifest"] == manifest.fingerprint() != val["manifest"]
    counts = rf"{train['used']} of 31 .* {train['never_read']} never read, 6 skipped"
    line = rf"^train: {counts}; \d x .*; manifest {manifest.fingerprint()[:12]}$"
    assert re.search(line, finished_run.stdout, re.M)


def test_results_are_those_of_the_saved_model(finished_run):
    config = read_config(finished_run.workdir)
    classes = json.loads((finished_run.workdir / "serving.json").read_text())["classes"]
    source = VideoFiles(read_kinetics(config.data_dir, config.val_annotations, classes))
    model = keras.saving.load_model(finished_run.workdir / "model.keras")
    results = json.loads((finished_run.workdir / "results.json").read_text())
    again = evaluate(model, source, config, Account(source.manifest))
    assert {k: again[k] for k in ("top1", "top5", "videos")} == {
        k: results[k] for k in ("top1", "top5", "videos")
    }


def test_model_loads_with_the_layers_alone(finished_run):
    program = "import sys, keras, keras_nonlocal; print(keras.saving.load_model(sys.argv[1]).output_shape)"
    process = small_run.run_python("-c", program, finished_run.workdir / "model.keras")
    assert process.stdout.strip() == "(None, 8)", process.stderr[-2000:]


def test_workdir_of_another_configuration_is_left_alone(finished_run):
    before = {path: path.read_bytes() for path in finished_run.workdir.rglob("*") if path.is_file()}
    error = refused(finished_run.data, finished_run.workdir, epochs=1).splitlines()
    assert error[0].endswith("Received a run with other flags (- there, + here):")
    assert error[1:] == ["  - --epochs=2", "  + --epochs=1", "Try: another --workdir."]
    assert {path: path.read_bytes() for path in finished_run.workdir.rglob("*") if path.is_file()} == before


def test_help_lists_the_flags():
    process = small_run.run_module("train.kinetics", "--help")
    assert "--crop_scales" in process.stdout and "sizes of the multi_scale crop" in process.stdout


def test_missing_data_is_told_in_one_line(tmp_path):
    process = small_run.train(tmp_path / "nowhere", tmp_path / "run")
    assert process.returncode == 1
    assert re.search(r"^error: Expected a directory of videos at .*nowhere.*Try: ", process.stderr, re.M)
    assert "Traceback" not in process.stderr and not (tmp_path / "run").exists()


def test_too_many_bad_videos_end_the_run(finished_run, tmp_path):
    process = small_run.train(finished_run.data, tmp_path / "run", max_bad_fraction=0.1)
    assert process.returncode == 1
    assert re.search(
        r"^error: Expected at most 10.0% bad videos.*Received [4-7] of 31 videos", process.stderr, re.M
    )
    # TensorFlow may have logged a traceback of its own before.
    assert "Traceback" not in process.stderr[process.stderr.index("\nerror: ") :]
    assert not (tmp_path / "run" / "model.keras").exists()
    account = (tmp_path / "run" / "bad_videos_train.csv").read_text()
    assert 'missing_000000_000010.mp4,"annotated' in account and account.count("\n") > 4


@pytest.mark.long
def test_a_diverging_run_says_so_and_writes_no_model(finished_run, tmp_path):
    process = small_run.train(finished_run.data, tmp_path / "run", learning_rate=1e30, clip_norm=1e30)
    assert process.returncode == 1
    assert re.search(
        r"^error: Expected finite losses and weights. Received loss .*Try: --learning_rate=1e.29, in a new",
        process.stderr,
        re.M,
    )
    assert not (tmp_path / "run" / "model.keras").exists()


def test_weights_that_do_not_fit_end_the_run_before_anything_is_written(finished_run, tmp_path):
    (tmp_path / "text.weights.h5").write_text("text")
    error = refused(finished_run.data, tmp_path / "run", weights=tmp_path / "text.weights.h5")
    assert re.match(r"VideoResNet: Expected `weights` .*Received .*Try", error)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_run_starts_from_weights(finished_run, tmp_path):
    trained = keras.saving.load_model(finished_run.workdir / "model.keras")
    trained.save_weights(tmp_path / "start.weights.h5")
    process = small_run.train(
        finished_run.data,
        tmp_path / "run",
        weights=tmp_path / "start.weights.h5",
        learning_rate=1e-30,
        epochs=1,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    ended = keras.saving.load_model(tmp_path / "run" / "model.keras")
    np.testing.assert_array_equal(ended.get_layer("fc").kernel, trained.get_layer("fc").kernel)


@pytest.mark.long
def test_a_run_is_alone_in_its_workdir_and_an_interrupt_saves_and_ends_it(finished_run, tmp_path):
    arguments = small_run.train_arguments(finished_run.data, tmp_path / "run", epochs=1000)
    with small_run.start_module("train.kinetics", *arguments) as process:
        while b"Epoch 2/" not in process.stdout.readline():
            assert process.poll() is None
        second = refused(finished_run.data, tmp_path / "run", epochs=1000)
        assert second.startswith("Expected to be alone in ")
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=60)[0].decode()
        finally:
            process.kill()
        assert process.returncode == 75
        assert "stopped by SIGINT; the same command goes on in " in said and "Traceback" not in said
    with small_run.start_module("train.kinetics", *arguments) as process:
        said = b""
        while b"bad videos skipped" not in said:
            said += process.stdout.readline()
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        try:
            said += process.communicate(timeout=60)[0]
        finally:
            process.kill()
        assert process.returncode == 75 and b"stopped by SIGTERM" in said
        gone_on = re.search(rb"it goes on from its checkpoint of step (\d+) of 3000", said)
        assert gone_on and int(gone_on[1]) > 3  # how far the first came in between, no test knows


DEVICES = """
import sys
import tensorflow as tf
devices, batch_size = map(int, sys.argv[3:])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
from train.command_line import read_config
from train.data import open_data
from train.loop import train_and_evaluate
import dataclasses
config = dataclasses.replace(read_config(sys.argv[1]), workdir=sys.argv[2], epochs=1, temporal="i3d_3x3x3")
config = dataclasses.replace(config, batch_size=batch_size, test_clips=1, test_crops=1)
strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)])
results = train_and_evaluate(config, open_data(config), strategy)
print("videos", results["videos"])
"""


@pytest.mark.long
@pytest.mark.parametrize("devices", [2, 3])
def test_several_devices(finished_run, tmp_path, devices):
    """Nine videos to evaluate leave the second or third device without any in the last batch."""
    process = small_run.run_python(
        "-c", DEVICES, finished_run.workdir, tmp_path / "run", devices, 8 // devices * devices
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert f"{devices} device(s)" in process.stdout and f"videos {small_run.GOOD_VAL}" in process.stdout
    assert (tmp_path / "run" / "model.keras").exists()


def test_a_batch_that_the_devices_do_not_divide_is_refused(finished_run, tmp_path):
    process = small_run.run_python("-c", DEVICES, finished_run.workdir, tmp_path / "run", 3, 8)
    last = process.stderr.splitlines()[-1]
    assert (
        "DeviceError: Expected --batch_size to be a multiple of 3" in last and "Try: --batch_size=6" in last
    )
    assert not (tmp_path / "run").exists()


def test_fewer_videos_than_a_batch(finished_run, tmp_path):
    error = refused(finished_run.data, tmp_path / "run", batch_size=32)
    assert re.match(r"Expected at least 32 training videos .*Received 30.*Try: --batch_size=2", error)
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_is_told_before_anything_starts(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-1-0.data-00000-of-00001").write_bytes(bytes(30))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=70))
    check_room(tmp_path, 20, 4)  # 100 bytes, of which 30 are there.
    with pytest.raises(OSError, match=r"MB of room in .*, for 5 checkpoints and the model\. Received"):
        check_room(tmp_path, 20, 5)
