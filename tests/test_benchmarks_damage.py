"""The benchmark of damages: of each kind of file, parts that are cut off or lost are found."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The encoders of the other files take long, or log to the terminal.
NAMES = (
    "mp4 h264",
    "mp4 fragments h264",
    "mov mjpeg",
    "mkv h264",
    "webm vp8",
    "ogg vp8",
    "avi mpeg4",
    "avi mjpeg",
    "ts mpeg2",
    "flv h264",
    "gif",
)
CUT_OR_LOST = (0, 2, 4, 18, 20, 22)


@pytest.fixture
def damage(monkeypatch):
    """The script as a module, without the program ffmpeg."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import damage

    monkeypatch.setattr(damage, "JUDGES", {"inspect": damage.inspect_refuses})
    yield damage
    del sys.modules["damage"]


@pytest.mark.parametrize("name", NAMES)
def test_files_that_lack_a_part_are_bad(damage, tmp_path, name):
    harmed, found = damage.measure(name, str(tmp_path), seed=0, numbers=CUT_OR_LOST)
    assert harmed >= 5
    assert found["inspect"][0] == harmed


@pytest.mark.long
def test_the_table_of_all_damages(damage, capsys):
    damage.main([])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == [*damage.FILES, "all"]
    harmed, found, _ = map(int, rows[-1][1:])
    assert harmed > 350
    assert found / harmed > 0.83


def test_the_damages_are_the_same_each_time(damage):
    whole = bytes(range(256)) * 40
    for number in range(damage.DAMAGES):
        kind, data = damage.damaged(whole, "mp4 h264", 0, number)
        assert (kind, data) == damage.damaged(whole, "mp4 h264", 0, number)
        assert data != whole
        assert (len(data) < len(whole)) == (kind in ("cut", "lost"))
