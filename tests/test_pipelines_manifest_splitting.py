import collections
import itertools

import av
import numpy as np
import pytest

from pipelines import synthetic
from pipelines.decoding.decode import decode_frames
from pipelines.manifest import Manifest, Video, read_manifest, write_manifest
from pipelines.manifest.command import main
from pipelines.manifest.rows import Check, Label
from pipelines.manifest.splitting import alike_files, classes_without, split_by_class


def rows(counts, folder="/data"):
    """Returns a manifest with so many videos of each class."""
    videos = [
        Video(f"{folder}/{name}/{number:03}.mp4", (Label(class_),))
        for class_, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]
    return Manifest(tuple(videos), tuple(counts))


def counts_of(manifest):
    """Returns {(class, split): how many rows}."""
    return collections.Counter((label.number, v.split) for v in manifest.videos for label in v.labels)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_each_class_is_split_alone(fraction):
    sizes = {"many": 60, "twelve": 12, "two": 2, "one": 1}
    found = counts_of(split_by_class(rows(sizes), fraction))
    for class_, size in enumerate(sizes.values()):
        wanted = min(max(1, round(size * fraction)), size - 1)
        assert (found[class_, "val"], found[class_, "train"]) == (wanted, size - wanted)


def test_the_split_is_of_the_seed_and_the_paths():
    manifest = rows({"a": 40, "b": 40})
    first = split_by_class(manifest, 0.25)
    assert first == split_by_class(manifest, 0.25) != split_by_class(manifest, 0.25, seed=1)
    elsewhere = split_by_class(rows({"a": 40, "b": 40}, "/elsewhere"), 0.25)
    assert [v.split for v in elsewhere.videos] == [v.split for v in first.videos]
    grown = split_by_class(rows({"a": 44, "b": 40}), 0.25)
    before = {video.path: video.split for video in first.videos}
    moved = [v.path for v in grown.videos if before.get(v.path, v.split) != v.split]
    assert len(moved) <= 4


def test_copies_stay_together():
    manifest = rows({"a": 30, "b": 30})
    check = Check("f00", 9, 25.0, 8, 8, "h264", "ok")
    same = [
        video._replace(check=check) if row % 10 == 0 else video for row, video in enumerate(manifest.videos)
    ]
    same.append(same[3]._replace(start=4.0))  # Another part of the same file.
    alike = [(same[5].path, same[6].path), (same[6].path, same[37].path), (same[10].path, same[11].path)]
    together = [{0, 10, 20, 30, 40, 50, 11}, {3, 60}, {5, 6, 37}]
    for seed in range(20):
        found = split_by_class(Manifest(tuple(same), manifest.classes), 0.3, seed, alike)
        splits = [video.split for video in found.videos]
        for group in together:
            assert len({splits[row] for row in group}) == 1
        assert all(counts_of(found)[class_, split] > 0 for class_ in (0, 1) for split in ("train", "val"))


def test_a_class_of_two_large_groups_has_both_splits():
    manifest = rows({"a": 20})
    pairs = [(v.path, w.path) for v, w in itertools.pairwise(manifest.videos[:12])]
    pairs += [(v.path, w.path) for v, w in itertools.pairwise(manifest.videos[12:])]
    assert counts_of(split_by_class(manifest, 0.1, 0, pairs)) == {(0, "train"): 12, (0, "val"): 8}


def test_a_manifest_of_copies_is_refused():
    manifest = rows({"a": 2, "b": 1})
    with pytest.raises(ValueError, match=r"a class with two different videos\. Received 3 rows of 2 classes"):
        split_by_class(manifest, 0.2, 0, [(manifest.videos[0].path, manifest.videos[1].path)])
    for fraction in (0, 1, float("nan")):
        with pytest.raises(ValueError, match=r"val_fraction in \(0, 1\)"):
            split_by_class(rows({"a": 5}), fraction)


def test_several_labels_a_video():
    videos = [Video(f"/d/{n}.mp4", tuple(Label(c) for c in range(3) if n >> c & 1)) for n in range(64)]
    found = split_by_class(Manifest(tuple(videos), ("x", "y", "z")), 0.25)
    assert classes_without(found, "val") == classes_without(found, "train") == []
    assert 8 <= sum(v.split == "val" for v in found.videos) <= 20


def coded_again(path, target, scale, rate, codec="libx264", **options):
    """Writes a video again, of another size, format and rate."""
    with av.open(path) as source, av.open(target, "w") as output:
        frames = list(source.decode(video=0))
        stream = output.add_stream(codec, rate=rate, options=options)
        width, height = (int(side * scale) // 2 * 2 for side in (frames[0].width, frames[0].height))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in np.linspace(
            0, len(frames) - 1, int(len(frames) * rate / source.streams.video[0].average_rate)
        ):
            pixels = frames[round(number)].reformat(width, height, "rgb24").to_ndarray()
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with three classes of five videos, and two copies that are coded otherwise."""
    directory = tmp_path_factory.mktemp("copies") / "videos"
    for label in ("moving up", "moving down", "growing"):
        (directory / label).mkdir(parents=True)
        for seed in range(5):
            synthetic.write_video(str(directory / label / f"{seed}.mp4"), *synthetic.scene(label, (1, seed)))
    coded_again(directory / "growing" / "0.mp4", directory / "growing" / "small.avi", 0.5, 10, codec="mpeg4")
    coded_again(directory / "moving up" / "2.mp4", directory / "moving up" / "rough.mkv", 1, 20, crf="36")
    (directory / "growing" / "broken.mp4").write_bytes(b"no video")
    return directory


def test_copies_of_other_sizes_formats_and_rates_are_found(folder):
    paths = sorted(map(str, folder.glob("*/*")))
    found = alike_files(paths, decode_frames, 2)
    copies = {("growing/0.mp4", "growing/small.avi"), ("moving up/2.mp4", "moving up/rough.mkv")}
    assert {tuple(p.removeprefix(f"{folder}/") for p in pair) for pair in found} == copies
    assert alike_files(paths[:1], decode_frames) == alike_files([str(folder / "none")], decode_frames) == []


def test_still_videos_that_differ_are_not_alike(tmp_path):
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        still = np.repeat(picture.repeat(8, 0).repeat(8, 1)[None], 20, 0)
        synthetic.write_video(str(tmp_path / f"{number}.mp4"), still, 10)
    coded_again(tmp_path / "0.mp4", tmp_path / "copy.mkv", 1, 10, crf="12")
    paths = sorted(map(str, tmp_path.iterdir()))
    assert alike_files(paths, decode_frames) == [(str(tmp_path / "0.mp4"), str(tmp_path / "copy.mkv"))]


def test_two_films_of_a_camera_that_stands_still_are_not_alike(tmp_path):
    room = np.random.default_rng(0).integers(0, 200, (16, 16, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    for number in range(2):
        places = np.random.default_rng(number + 1).integers(0, 48, (32, 2))
        film = np.repeat(room[None], 32, 0)
        for frame, (top, left) in zip(film, places, strict=True):
            frame[top : top + 16, left : left + 16] = 255
        synthetic.write_video(str(tmp_path / f"{number}.mp4"), film, 10)
    coded_again(tmp_path / "0.mp4", tmp_path / "copy.mkv", 0.5, 10)
    paths = sorted(map(str, tmp_path.iterdir()))
    assert alike_files(paths, decode_frames) == [(str(tmp_path / "0.mp4"), str(tmp_path / "copy.mkv"))]


def test_the_command_splits_a_manifest_once(folder, capsys):
    path = str(folder.parent / "videos.jsonl")
    assert main(["import", "--format=folders", f"--data_dir={folder}", f"--output={path}"]) == 0
    assert main(["split", f"--manifest={path}", "--workers=2"]) == 0
    printed = capsys.readouterr().out
    assert "train 15, val 3" in printed and "2 pairs of files, such as " in printed
    once = read_manifest(path, keep_bad=True)
    assert main(["split", f"--manifest={path}", "--seed=1"]) == 1
    assert "Received train, val. Try: --anew" in capsys.readouterr().err
    assert read_manifest(path, keep_bad=True) == once
    assert main(["split", f"--manifest={path}", "--seed=1", "--anew", "--workers=2"]) == 0
    assert read_manifest(path, keep_bad=True) != once
    assert main(["split", f"--manifest={path}", "--anew", "--val_fraction=1"]) == 1


def test_classes_without_a_usable_video_are_named(folder, capsys):
    manifest = rows({"two": 2, "one": 1}, str(folder))
    bad = manifest.videos[2]._replace(check=Check("", 0, 0.0, 0, 0, "", "bad", "no video"))
    write_manifest(folder.parent / "few.jsonl", Manifest((*manifest.videos[:2], bad), manifest.classes))
    assert main(["split", f"--manifest={folder.parent / 'few.jsonl'}", "--workers=1"]) == 0
    assert "1 classes have no video for validation, such as one" in capsys.readouterr().out
