import json
import re
import shutil
import signal

import pytest
import small_run
from absl import flags

from pipelines import synthetic
from train import finetune
from train.command_line import define_flags, read_config
from train.config.fields import parse
from train.planning.choices import Cost

SMALL = {"crop": 32, "batch_size": 4, "test_clips": 1, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Returns a folder with three classes of six videos, one of which is broken."""
    directory = tmp_path_factory.mktemp("folder") / "videos"
    for label in ("moving up", "growing", "turning clockwise"):
        (directory / label).mkdir(parents=True)
        for seed in range(6):
            synthetic.write_video(str(directory / label / f"{seed}.mp4"), *synthetic.scene(label, (3, seed)))
    (directory / "growing" / "0.mp4").write_bytes(b"no video")
    return directory


def parsed(*arguments):
    flag_values = flags.FlagValues()
    finetune.define_own_flags(flag_values)
    define_flags(flag_values)
    parse(["finetune", *arguments], flag_values)
    return flag_values


def planned(monkeypatch, capsys, *arguments):
    """Returns the flags that are planned for some arguments, and what is printed; no step is timed."""
    timed = []
    monkeypatch.setattr(finetune, "cost_of", lambda config: timed.append(config) or Cost(0.01, 1e-5))
    runs = []
    monkeypatch.setattr(finetune, "run_and_print", lambda config, names: runs.append(config))
    monkeypatch.setattr(finetune, "_export", lambda workdir: None)
    finetune.main(["finetune"], parsed(*arguments))
    return runs[0], capsys.readouterr().out, timed


def test_a_folder_is_planned(videos, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    run, said, timed = planned(
        monkeypatch, capsys, f"--data_dir={videos}", f"--workdir={workdir}", "--epochs=12"
    )
    assert (run.epochs, run.depth, run.keep_epoch, run.flip, run.weights) == (12, 18, "best", False, "")
    assert run.train_annotations.endswith("run/videos.jsonl#train") and run.warmup_epochs == 1.2
    assert (run.crop, run.test_size, run.short_side) == (224, 224, 256) and timed[0].crop == 64
    assert "14 videos to learn from and 3 to validate with, of 3 classes" in said
    assert re.search(r"^  --batch_size=2 +a tenth of the training videos$", said, re.MULTILINE)
    assert "--epochs" not in said and "It takes about " in said
    assert "without --weights the network begins at random, and 14 videos" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 110


def test_weights_bring_their_network(finished_run, videos, tmp_path, monkeypatch, capsys):
    arguments = f"--data_dir={videos}", f"--workdir={tmp_path / 'run'}", f"--weights={finished_run.workdir}"
    run, said, _ = planned(monkeypatch, capsys, *arguments)
    theirs = read_config(finished_run.workdir)
    for name in ("depth", "blocks", "clip_frames", "sampling", "crop", "short_side", "mean"):
        assert getattr(run, name) == getattr(theirs, name)
    assert (run.adapt, run.rates, run.frozen_batch_norm) == (("classes",), ("fc=10",), True)
    assert "at random" not in said
    other = f"--workdir={tmp_path / 'other'}", "--blocks=res3_0,res4_0"
    assert planned(monkeypatch, capsys, *arguments, *other)[0].adapt == ("classes", "blocks")


def test_converted_weights_of_images_are_inflated(videos, tmp_path, monkeypatch, capsys):
    (tmp_path / "start.weights.h5").write_bytes(b"")  # What is in it, the run itself sees.
    flags_ = {"depth": 34, "temporal": "c2d", "blocks": [], "num_classes": 1000, "images": True}
    said = {"format": "keras_applications", "reverse_channels": True, "model_flags": flags_}
    (tmp_path / "start.weights.json").write_text(json.dumps(said))
    arguments = (
        f"--data_dir={videos}",
        f"--workdir={tmp_path / 'run'}",
        f"--weights={tmp_path}/start.weights.h5",
    )
    run, printed, timed = planned(monkeypatch, capsys, *arguments, "--blocks=res3_0", "--block=NonLocal")
    assert (run.depth, run.temporal, run.blocks, run.mean[0], run.std[0]) == (
        34,
        "tsm",
        ("res3_0",),
        123.68,
        1.0,
    )
    assert run.adapt == ("classes", "blocks", "images") and timed[0].weights == run.weights
    assert "  --mean=123.68,116.779,103.939" in printed and "--topology" not in printed


def test_values_that_are_given_stay(videos, tmp_path, monkeypatch, capsys):
    arguments = f"--data_dir={videos}", f"--workdir={tmp_path / 'run'}", "--crop=40", "--flip", "--blocks="
    run, _, _ = planned(monkeypatch, capsys, *arguments, "--test_size=48")
    assert (run.crop, run.flip, run.blocks, run.short_side, run.test_size) == (40, True, (), 46, 48)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], r"Expected --data_dir to be a folder of videos\. Received none"),
        (["--data_dir=missing"], r"Expected a directory of videos at 'missing"),
        (["--data_dir={videos}", "--depth=19"], r"Expected --depth to be one of "),
        (["--data_dir={videos}", "--val_fraction=1.5"], r"val_fraction=1.5\. Try: 0.2$"),
        (["--data_dir={videos}", "--min_videos=6"], r"such as growing with 5\. Try: .* --min_videos=5$"),
        (["--data_dir={videos}", "--weights=none"], r"Expected --weights to be .* Received none"),
        (["--data_dir={videos}/growing"], r"Expected a folder for each class"),
    ],
)
def test_what_does_not_do_is_told_in_a_line(videos, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        planned(monkeypatch, capsys, *(text.format(videos=videos) for text in arguments))
    assert re.search(words, str(ended.value)) and "\n" not in str(ended.value)
    assert not list(tmp_path.glob("runs/*/run.flags"))


@pytest.mark.long
def test_a_folder_becomes_a_model(finished_run, videos, tmp_path):
    shutil.copytree(videos, tmp_path / "videos")
    flags_ = [f"--{name}={value}" for name, value in SMALL.items()]
    arguments = f"--data_dir={tmp_path / 'videos'}", f"--workdir={tmp_path / 'run'}"
    command = "train.finetune", *arguments, f"--weights={finished_run.workdir}", *flags_
    with small_run.start_module(*command, "--epochs=500") as process:
        while b"Epoch 1/" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=100)[0] is not None and process.returncode == 75
    assert not (tmp_path / "run" / "model.keras").exists()
    process = small_run.run_module(*command, "--epochs=500", "--max_minutes=0.01")
    assert process.returncode == 0, process.stderr[-3000:]
    assert "going on with the run in " in process.stdout and "timing" not in process.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.keras", "results.json", "savedmodel", "videos.jsonl", "run.flags"} <= names
    assert json.loads((tmp_path / "run" / "results.json").read_text())["videos"] == 3
    process = small_run.run_module(*command, "--epochs=500", "--max_minutes=0.01")
    assert process.returncode == 0 and "this run is done" in process.stdout
    other = small_run.run_module(*command, "--epochs=500", "--learning_rate=1")
    assert other.returncode == 1 and "- --learning_rate=0.001" in other.stderr
