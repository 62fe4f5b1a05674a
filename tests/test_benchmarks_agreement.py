"""The benchmark of agreement with the program ffmpeg: all files agree, and wrong frames would not."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import ramp_videos

from pipelines.decoding.decode import decode_frames

ROOT = Path(__file__).parents[1]


@pytest.fixture
def agreement(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import agreement

    yield agreement
    del sys.modules["agreement"]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no program ffmpeg to compare with")
def test_every_kind_of_file_agrees(agreement, capsys):
    with pytest.raises(SystemExit) as end:
        agreement.main([])
    assert end.value.code == 0, capsys.readouterr().out
    assert capsys.readouterr().out.count("| agrees |") == len(agreement.FILES) >= 60


@pytest.mark.parametrize(
    ("wrong", "agrees"),
    [
        (lambda frames: frames, True),
        (lambda frames: frames[:, :, ::-1], False),
        (lambda frames: np.roll(frames, 1, axis=0), False),
        (lambda frames: frames[:-1], False),
    ],
    ids=["right", "mirrored", "shifted", "one_less"],
)
def test_wrong_frames_disagree(agreement, monkeypatch, tmp_path, wrong, agrees):
    path = ramp_videos.write(tmp_path / "v.mp4", 8)
    shown = decode_frames(path, range(8)).frames
    monkeypatch.setattr(agreement, "shown_by_ffmpeg", lambda path, *sides: wrong(shown))
    found = agreement.compare(path)
    assert agreement.agrees(*found) == agrees
