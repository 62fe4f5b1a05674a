"""Prediction on files that no data set knows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import small_run

from pipelines import synthetic
from pipelines.bad_video import BadVideo
from train.predict import bars, predict

REAL_VIDEOS = small_run.ROOT.parent / "shared" / "videos"


def test_program_prints_five_classes_with_bars(finished_run, tmp_path):
    video = tmp_path / "new.mp4"
    synthetic.write_video(str(video), *synthetic.scene("growing", (9, 9)))
    process = small_run.run_module("train.predict", f"--video={video}", f"--workdir={finished_run.workdir}")
    assert process.returncode == 0, process.stderr[-2000:]
    ranking = predict(video, finished_run.workdir)
    assert process.stdout.strip() == bars(ranking, 5)
    assert sorted(name for name, _ in ranking) == sorted(synthetic.MOTIONS)
    probabilities = [probability for _, probability in ranking]
    assert probabilities == sorted(probabilities, reverse=True)
    np.testing.assert_allclose(sum(probabilities), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "0 bytes"), (b"text", "not a video"), (None, "no such file")]
)
def test_bad_files_are_named(finished_run, tmp_path, content, reason):
    video = tmp_path / "bad.mp4"
    if content is not None:
        video.write_bytes(content)
    with pytest.raises(BadVideo, match=rf"bad.mp4: .*{reason}"):
        predict(video, finished_run.workdir)


def test_two_videos_and_stray_words_are_refused(finished_run):
    for arguments, words in (
        (["--video=a.mp4", "--video=b.mp4"], "error: Expected one --video. Received 2: a.mp4, b.mp4. Try"),
        (["--video=a.mp4", "b.mp4"], "error: Expected nothing but flags. Received 'b.mp4'. Try"),
    ):
        process = small_run.run_module("train.predict", *arguments, f"--workdir={finished_run.workdir}")
        assert process.returncode == 1 and process.stderr.splitlines()[-1].startswith(words)


def test_workdir_without_a_run(tmp_path):
    process = small_run.run_module("train.predict", "--video=x.mp4", f"--workdir={tmp_path}")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: Expected the directory of a run.")


@pytest.mark.skipif(
    not REAL_VIDEOS.is_dir(), reason="the folder of real clips, ../shared/videos, is not there"
)
def test_real_clips(finished_run):
    videos = [path for path in sorted(Path(REAL_VIDEOS).iterdir()) if path.suffix in (".mp4", ".avi")]
    assert videos
    for path in videos:
        np.testing.assert_allclose(sum(p for _, p in predict(path, finished_run.workdir)), 1, rtol=1e-5)


def test_damaged_files_of_a_run_are_named(finished_run, tmp_path):
    shutil.copytree(finished_run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard"))
    video = next((finished_run.data / "val" / "growing").glob("synth*.mp4"))
    for name, content, words in (
        ("serving.json", "[]", "Expected names of classes.*serving.json"),
        ("model.keras", "no archive", "Expected the sound model.keras of a run.*Try: --workdir=DIR"),
        ("run.flags", "--epoch=3", "Received --epoch. Try: --epochs=3"),
    ):
        (tmp_path / "run" / name).write_text(content)
        with pytest.raises(ValueError, match=words):
            predict(video, tmp_path / "run")
    (tmp_path / "run" / "run.flags").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="Expected a flag file that can be read"):
        predict(video, tmp_path / "run")
