"""The demo from end to end, on less data and for one epoch."""

import json
import re
from types import SimpleNamespace

import pytest
import small_run

from train import demo


@pytest.mark.long
def test_every_stage_runs_and_the_table_ends_it(tmp_path):
    directory = tmp_path / "demo"
    directory.mkdir()
    (directory / "made_by_train_demo").touch()
    (directory / "leftover").touch()
    process = small_run.run_module(
        *["train.demo", f"--directory={directory}", "--videos=32", "--"],
        *["--epochs=1", "--warmup_epochs=0", "--test_clips=1", "--test_crops=1"],
    )
    assert process.returncode == 0, process.stderr[-2000:]
    stages = ["make videos", "train and evaluate", "export", "film a new video", "predict"]
    for stage in stages:
        assert f"\033[1m{stage}\033[0m: python -m " in process.stdout
        assert re.search(rf"^{stage} +\d+\.\d s$", process.stdout, re.M)
    assert re.search(r"^top-1 +\d+\.\d%", process.stdout, re.M) and "█" in process.stdout
    for artefact in ("run/model.keras", "run/results.json", "run/savedmodel/1"):
        assert str(directory / artefact) in process.stdout and (directory / artefact).exists()
    assert not (directory / "leftover").exists()
    assert not re.search(r"^[IWE]\d{4} ", process.stderr, re.M)


def test_the_table_ends_stages_that_only_pretend_to_run(tmp_path, monkeypatch, capsys):
    directory, programs = tmp_path / "demo", []

    def run(arguments):
        programs.append(arguments[0])
        (directory / "run").mkdir(parents=True, exist_ok=True)
        results = {"top1": 0.5, "top5": 1.0, "clips": 3, "crops": 3, "seconds_per_video": 0.1}
        (directory / "run" / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(demo, "_run", run)
    flags = SimpleNamespace(directory=str(directory), videos=32)
    monkeypatch.setattr(demo, "flags", SimpleNamespace(FLAGS=flags))
    demo.main(["demo"])
    assert programs == [
        *("pipelines.synthetic", "train.kinetics", "savedmodels.export"),
        *("pipelines.synthetic", "train.predict"),
    ]
    printed = capsys.readouterr().out
    assert re.search(r"^top-1 +50\.0%", printed, re.M) and re.search(r"^in all +\d+\.\d s$", printed, re.M)
    assert printed.count("\033[1m") == len(programs)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    process = small_run.run_module("train.demo", f"--directory={tmp_path}")
    assert process.returncode == 1 and "error: Expected a new directory" in process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.long
def test_a_failing_stage_ends_the_demo(tmp_path):
    process = small_run.run_module(
        "train.demo", f"--directory={tmp_path / 'd'}", "--videos=16", "--", "--epochs=0"
    )
    assert process.returncode == 1
    assert "error: Expected --epochs to be at least 1" in process.stderr
    assert "error: the demo stopped, 'train and evaluate' ended with status 1" in process.stderr
