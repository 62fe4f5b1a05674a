"""Prediction on files that no data set knows."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import small_run
import small_trained
from absl import flags

from pipelines.account import Account
from train import predict as program
from train.command_line import read_config
from train.config.fields import parse
from train.data import open_split
from train.predict import as_csv, as_json, bars, find_videos, predict
from train.scoring.scores import Scores
from train.scoring.trained import read_trained, scores_of

REAL_VIDEOS = small_run.ROOT.parent / "shared" / "videos"


def run(*arguments):
    """Runs the program in this process."""
    flag_values = flags.FlagValues()
    program.define(flag_values)
    program.main(parse(["predict", *map(str, arguments)], flag_values), flag_values)


@pytest.fixture(scope="module")
def trained():
    return small_trained.trained()


def test_a_folder_gets_the_rows_of_its_evaluation(finished_run, tmp_path):
    target = tmp_path / "p.csv"
    process = small_run.run_module(
        "train.predict",
        f"--workdir={finished_run.workdir}",
        f"--video={finished_run.data / 'val'}",
        f"--video={tmp_path / 'lost.mp4'}",
        "--json=-",
        f"--csv={target}",
        "--top=8",
    )
    assert process.returncode == 2, process.stderr[-2000:]  # Some could not be read.
    found = json.loads(process.stdout)
    scores = Scores.load(finished_run.workdir / "scores_val.npz")
    assert sorted(found["videos"]) == sorted(scores.paths) and len(scores.paths) == small_run.GOOD_VAL
    for path, expected in zip(scores.paths, scores.probabilities, strict=True):
        of_class = {row["class"]: row["probability"] for row in found["videos"][path]}
        np.testing.assert_allclose([of_class[name] for name in scores.classes], expected, atol=1e-6)
        assert list(of_class.values()) == sorted(of_class.values(), reverse=True)
    (broken,) = (finished_run.data / "val" / "growing").glob("broken*")
    assert list(found["bad"]) == [str(broken), str(tmp_path / "lost.mp4")]
    assert process.stderr.splitlines()[-2].startswith(f"error: {broken}: not a video")
    assert process.stderr.splitlines()[-1] == f"error: {tmp_path / 'lost.mp4'}: there is no such file"
    with open(target, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 8 and [row["rank"] for row in rows[:8]] == list("12345678")
    assert float(rows[0]["probability"]) == found["videos"][rows[0]["path"]][0]["probability"]
    assert "evaluating: 100%" in process.stderr


def test_a_prediction_is_the_row_of_an_evaluation_of_any_views(trained, tmp_path):
    videos = small_trained.write_videos(tmp_path)
    small_trained.write_split(
        tmp_path / "all.jsonl", videos, [[(name,)] for name in (*trained.classes, "growing", "growing")]
    )
    source = open_split(trained.config, str(tmp_path / "all.jsonl"))
    scores = scores_of(trained, source, Account(source.manifest), verbose=False)
    rankings, bad = predict(videos[:3], trained)
    assert bad == {} and list(rankings) == [str(path) for path in videos[:3]]
    for ranking, expected in zip(rankings.values(), scores.probabilities, strict=False):
        of_class = dict(ranking)
        np.testing.assert_allclose([of_class[name] for name in scores.classes], expected, atol=1e-6)
    assert len({ranking[0] for ranking in rankings.values()}) == 3


def test_program_prints_the_best_classes_with_bars(tmp_path, capsys):
    small_trained.write_run(tmp_path / "run")
    videos = small_trained.write_videos(tmp_path / "v", 2)
    rankings, _ = predict(videos, read_trained(read_config(str(tmp_path / "run"))))
    run(f"--workdir={tmp_path / 'run'}", f"--video={videos[0]}", "--top=3")
    first, second = (bars(rankings[str(path)], 3) for path in videos)
    assert capsys.readouterr().out == first + "\n"
    run(f"--workdir={tmp_path / 'run'}", f"--video={tmp_path / 'v'}", "--top=3")
    assert capsys.readouterr().out == f"{videos[0]}\n{first}\n\n{videos[1]}\n{second}\n\n"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "0 bytes"), (b"text", "not a video"), (None, "no such file")]
)
def test_bad_files_are_named(trained, tmp_path, content, reason):
    good, bad = small_trained.write_videos(tmp_path, 1)[0], tmp_path / "bad.mp4"
    if content is not None:
        bad.write_bytes(content)
    rankings, reasons = predict([bad, good, bad], trained)
    assert list(rankings) == [str(good)] and list(reasons) == [str(bad)] and reason in reasons[str(bad)]
    assert predict([bad], trained) == ({}, reasons)


def test_status_if_nothing_can_be_read(tmp_path, capfd):
    small_trained.write_run(tmp_path / "run")
    (tmp_path / "bad.mp4").write_bytes(b"text")
    with pytest.raises(SystemExit) as caught:
        run(f"--workdir={tmp_path / 'run'}", f"--video={tmp_path / 'bad.mp4'}", "--json=-")
    said = capfd.readouterr()
    assert caught.value.code == 1 and "Traceback" not in said.err
    assert said.err.splitlines()[-1].startswith(f"error: {tmp_path / 'bad.mp4'}: not a video")
    assert json.loads(said.out)["videos"] == {}


def test_folders_are_searched_for_videos(tmp_path):
    films, frames = tmp_path / "films", tmp_path / "films" / "z" / "frames"
    for name in (
        "b.MP4",
        "a.avi",
        "notes.txt",
        "cover.jpg",
        "z/c.webm",
        ".hidden.mp4",
        ".trash/d.mp4",
        "z/frames/1.png",
    ):
        (films / name).parent.mkdir(parents=True, exist_ok=True)
        (films / name).touch()
    videos = [films / "a.avi", films / "b.MP4", films / "z" / "c.webm", frames]
    assert find_videos([str(films), "any.name"]) == [*map(str, videos), "any.name"]
    assert find_videos([str(frames)]) == [str(frames)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"Expected videos in '.*empty', or below it\. .*\. Try: --video=FILE"
    ):
        find_videos([str(films), str(tmp_path / "empty")])


def test_names_of_any_kind_can_be_written():
    rankings = {'a, "b" \udcff.mp4': [("growing", 0.75), ("shrinking", 0.25)]}
    assert json.loads(as_json(rankings, {}, 1))["videos"] == {
        'a, "b" \udcff.mp4': [{"class": "growing", "probability": 0.75}]
    }
    rows = list(csv.reader(io.StringIO(as_csv(rankings, 2))))
    assert rows[2] == ['a, "b" \udcff.mp4', "2", "shrinking", "0.25"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--video=a.mp4", "b.mp4"], "error: Expected nothing but flags. Received 'b.mp4'. Try"),
        (["--video=x.mp4"], "error: Expected the directory of a run."),
        (["--video=."], "error: Expected videos in '.', or below it."),
        (["--video=x.mp4", "--weights=x.weights.h5", "--workdir="], "error: Expected --workdir to be a dir"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        run(f"--workdir={tmp_path}", *arguments)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


@pytest.mark.skipif(
    not REAL_VIDEOS.is_dir(), reason="the folder of real clips, ../shared/videos, is not there"
)
def test_real_clips(trained):
    videos = [path for path in sorted(Path(REAL_VIDEOS).iterdir()) if path.suffix in (".mp4", ".avi")]
    assert videos
    for path in videos:
        (ranking,) = predict([path], trained)[0].values()
        np.testing.assert_allclose(sum(p for _, p in ranking), 1, rtol=1e-5)


def test_damaged_files_of_a_run_are_named(tmp_path):
    small_trained.write_run(tmp_path / "run")
    for name, content, words in (
        ("model.keras", b"no archive", "Expected the sound model.keras of a run"),
        ("serving.json", b"[]", "Expected names of classes"),
        ("run.flags", b"--epoch=3", "Expected a flag of this program. Received --epoch. Try: --epochs=3"),
        ("run.flags", b"\xff\xfe", "Expected a flag file that can be read"),
    ):
        (tmp_path / "run" / name).write_bytes(content)
        with pytest.raises(SystemExit, match=f"error: {words}"):
            run(f"--workdir={tmp_path / 'run'}", "--video=x.mp4")
