"""Generated data sets: their answers are right, and nothing but the motion tells them."""

import concurrent.futures
import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines import synthetic
from pipelines.decoding.decode import decode_frames
from pipelines.manifest.annotations import read_kinetics

PAIRS = [
    ("moving left", "moving right"),
    ("moving up", "moving down"),
    ("turning clockwise", "turning anticlockwise"),
    ("growing", "shrinking"),
]
SEEDS = [(seed, number) for seed in (0, 1) for number in range(3)]


@pytest.mark.parametrize("level", synthetic.LEVELS)
@pytest.mark.parametrize("label, partner", PAIRS)
def test_partners_are_each_other_backwards_to_the_last_bit(label, partner, level):
    for seed in SEEDS:
        frames, fps = synthetic.scene(label, seed, level)
        backwards, partners_fps = synthetic.scene(partner, seed, level)
        np.testing.assert_array_equal(frames, backwards[::-1])
        assert fps == partners_fps
        assert (frames[0] != frames[-1]).any()


def test_time_runs_through_the_same_numbers_both_ways(monkeypatch):
    """Not only the pixels, which rounding may save: where the shape is painted must agree to the last bit."""
    painted = []
    monkeypatch.setattr(
        synthetic, "_paint", lambda picture, parts, surface, *where: painted.append(np.hstack(where))
    )
    for label, partner in PAIRS:
        for number in range(10):
            painted.clear()
            synthetic.scene(label, (number,))
            forwards = painted.copy()
            painted.clear()
            synthetic.scene(partner, (number,))
            np.testing.assert_array_equal(forwards, painted[::-1])


def shape_seen(frame):
    """Returns area, centre (x, y) and angle (up to half a turn, x towards y) of the bright shape."""
    y, x = np.nonzero(frame.mean(axis=-1) > 142)  # Between backgrounds of 50-125 and shapes of 160-250.
    centre = np.array([x.mean(), y.mean()])
    spread = np.cov(x, y)
    return len(x), centre, 0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])


@pytest.mark.parametrize("seed", SEEDS)
def test_left_is_left_and_down_is_down_on_the_screen(seed):
    for label, direction in {
        "moving left": (-1, 0),
        "moving right": (1, 0),
        "moving up": (0, -1),
        "moving down": (0, 1),
    }.items():
        frames, _ = synthetic.scene(label, seed)
        way = shape_seen(frames[-1])[1] - shape_seen(frames[0])[1]
        along, across = way @ direction, abs(way @ direction[::-1])
        assert along > 0.2 * frames.shape[1] and across < 0.2 * along


@pytest.mark.parametrize("seed", SEEDS)
def test_clockwise_is_clockwise_on_the_screen(seed):
    for label, direction in {"turning clockwise": 1, "turning anticlockwise": -1}.items():
        frames, _ = synthetic.scene(label, seed)
        angles = np.unwrap([shape_seen(frame)[2] for frame in frames], period=np.pi)
        turned = direction * (angles[-1] - angles[0])  # Rows run downwards, so x towards y is clockwise.
        assert np.radians(110) < turned < np.radians(250)


@pytest.mark.parametrize("seed", SEEDS)
def test_growing_grows(seed):
    for label, direction in {"growing": 1, "shrinking": -1}.items():
        frames, _ = synthetic.scene(label, seed)
        areas = [shape_seen(frame)[0] for frame in frames]
        assert 1.4**4 * 0.8 < (areas[-1] / areas[0]) ** direction < 1.8**4 * 1.2


def test_a_clockwise_quarter_turn_takes_the_arrow_from_right_to_down():
    """The shapes and the sign of the angle together, without the moments that know half turns only."""
    surface = synthetic.Texture(np.random.default_rng(0), (220, 220), 0)
    for angle, side in ((0, (1, 0)), (np.pi / 2, (0, 1)), (np.pi, (-1, 0))):
        picture = np.zeros((61, 61, 3), np.float32)
        synthetic._paint(picture, synthetic.SHAPES["arrow"][:1], surface, np.array([30.0, 30.0]), 25.0, angle)
        _, centre, _ = shape_seen(picture)
        assert (centre - 30) @ side > 5


@pytest.mark.parametrize("level", synthetic.LEVELS)
def test_a_seed_fixes_every_pixel_and_another_seed_changes_them(level):
    first, again = (synthetic.scene("growing", (4, 1), level)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other, _ = synthetic.scene("growing", (4, 2), level)
    assert other.shape != first.shape or (other != first).mean() > 0.5


def test_scenes_keep_to_the_promised_sizes_lengths_and_rates_and_vary_in_each():
    scenes = [synthetic.scene("moving up", (0, number)) for number in range(24)]
    counts, heights, widths = (np.array([frames.shape[axis] for frames, _ in scenes]) for axis in range(3))
    rates = np.array([fps for _, fps in scenes])
    for values, least, most in ((counts, 24, 48), (heights, 72, 96), (widths, 96, 128), (rates, 12, 30)):
        assert least <= values.min() < values.max() <= most
        assert len(set(values.tolist())) >= 3
    assert not (heights % 2).any() and not (widths % 2).any()


def test_hard_shapes_cannot_be_told_by_their_brightness():
    for number in range(5):
        frames, _ = synthetic.scene("growing", (number,), "hard")
        edge = np.concatenate([frames[0][:10].reshape(-1, 3), frames[0][-10:].reshape(-1, 3)])
        middle = frames[0][frames.shape[1] // 2 - 8 :][:16, frames.shape[2] // 2 - 8 :][:, :16].reshape(-1, 3)
        assert edge.min() < middle.mean() < edge.max()


def test_training_and_validation_share_no_texture(monkeypatch, tmp_path):
    """Follows each texture from its making to the file that it goes into."""
    made, used = [], {"train": [], "val": []}

    def recording(*arguments, make=synthetic.Texture):
        made.append(make(*arguments))
        return made[-1]

    def collect(path, frames, fps):
        used[Path(path).parent.parent.name] += made
        made.clear()

    monkeypatch.setattr(synthetic, "Texture", recording)
    monkeypatch.setattr(synthetic, "write_video", collect)
    one_thread = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda workers, context: one_thread(1))
    synthetic.write_dataset(str(tmp_path), train=24, val=16)
    assert {split: len(textures) for split, textures in used.items()} == {"train": 48, "val": 32}
    for numbers in ("wave_vectors", "phases", "colours"):
        values = {
            split: {getattr(texture, numbers).tobytes() for texture in textures}
            for split, textures in used.items()
        }
        assert len(values["train"]) == 48 and len(values["val"]) == 32
        assert not values["train"] & values["val"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("synthetic") / "new" / "folder"
    synthetic.write_dataset(str(directory), train=16, val=8, seed=3, workers=2)
    return directory


def test_a_written_data_set_has_kinetics_layout_and_nothing_else(written):
    assert sorted(entry.name for entry in written.iterdir()) == ["train", "train.csv", "val", "val.csv"]
    for split, count in (("train", 16), ("val", 8)):
        with open(written / f"{split}.csv", newline="") as file:
            reader = csv.DictReader(file)
            assert reader.fieldnames == ["label", "youtube_id", "time_start", "time_end", "split"]
            rows = list(reader)
        assert Counter(row["label"] for row in rows) == dict.fromkeys(synthetic.MOTIONS, count // 8)
        assert len({row["youtube_id"] for row in rows}) == count
        expected = {written / split / row["label"] / f"{row['youtube_id']}_000000_000010.mp4" for row in rows}
        assert {path for path in (written / split).rglob("*") if path.is_file()} == expected


def test_a_written_data_set_is_read_whole(written):
    train = read_kinetics(str(written), "train.csv")
    val = read_kinetics(str(written), "val.csv", classes=train.classes)
    assert (len(train), len(val), train.unusable, val.unusable) == (16, 8, (), ())
    shapes = [
        decode_frames(path, lambda seconds: range(len(seconds))).frames.shape for path, *_ in train.videos
    ]
    assert len(set(shapes)) > 4
    assert all(24 <= shape[0] <= 48 for shape in shapes)


def test_a_seed_fixes_every_byte_whatever_the_number_of_processes(written, tmp_path):
    synthetic.write_dataset(str(tmp_path), train=16, val=8, seed=3, workers=1)
    for path in tmp_path.rglob("*.*"):
        assert path.read_bytes() == written.joinpath(path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("level, tolerance", [("easy", 3), ("hard", 4)])
def test_files_show_the_scenes_that_were_rendered(tmp_path, level, tolerance):
    frames, fps = synthetic.scene("turning clockwise", (9,), level)
    synthetic.write_video(str(tmp_path / "v.mp4"), frames, fps)
    decoded = decode_frames(str(tmp_path / "v.mp4"), lambda seconds: range(len(seconds))).frames
    assert decoded.shape == frames.shape
    errors = np.abs(decoded.astype(float) - frames).mean(axis=(1, 2, 3))
    assert errors.max() < tolerance
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.mp4"]


def test_the_command_line_writes_a_single_video_of_a_class(tmp_path, capsys):
    path = tmp_path / "folder" / "unseen.mp4"
    synthetic.main([f"--output={path}", "--label=moving left", "--seed=1"])
    assert f"wrote {path}" in capsys.readouterr().out
    assert [entry.name for entry in path.parent.iterdir()] == ["unseen.mp4"]
    frames = decode_frames(path, lambda seconds: range(len(seconds))).frames
    assert shape_seen(frames[-1])[1][0] < shape_seen(frames[0])[1][0] - 10


def test_the_command_line_writes_a_data_set(tmp_path):
    synthetic.main([f"--output={tmp_path}", "--train=8", "--val=0", "--level=hard"])
    assert len(read_kinetics(str(tmp_path), "train.csv")) == 8


def test_an_unknown_class_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        synthetic.main(["--output=x", "--label=dancing"])
    assert "turning anticlockwise" in capsys.readouterr().err
