"""Parts of a manifest: which rows remain, that only seed and names decide, and what the command says."""

import collections
import random

import pytest

from pipelines.labels import check_flip
from pipelines.manifest import Label, Manifest, Video, read_manifest, write_manifest
from pipelines.manifest.command import main
from pipelines.manifest.subset import largest_classes, of_classes, of_ids, some_of_each_class


def kinetics(train, val, folder="/data"):
    """Returns a manifest with so many videos of each class in the splits train and val."""
    videos = [
        Video(f"{folder}/{split}/{name}/{name}_{n:05}_000010_000020.mp4", (Label(class_),), split=split)
        for split, counts in (("train", train), ("val", val))
        for class_, (name, count) in enumerate(counts.items())
        for n in range(count)
    ]
    return Manifest(tuple(videos), tuple(train))


def counts_of(manifest):
    return collections.Counter((manifest.classes[video.label], video.split) for video in manifest.videos)


WHOLE = kinetics({"a": 50, "b": 30, "c": 40, "d": 40}, {"a": 9, "b": 9, "c": 3, "d": 9})


def test_so_many_of_each_class_and_split():
    found, lacking = some_of_each_class(WHOLE, {"train": 35, "val": 5})
    assert counts_of(found) == {
        **{("a", "train"): 35, ("b", "train"): 30, ("c", "train"): 35, ("d", "train"): 35},
        **{("a", "val"): 5, ("b", "val"): 5, ("c", "val"): 3, ("d", "val"): 5},
    }
    assert lacking == {"train": [("b", 30)], "val": [("c", 3)]}
    order = {video: row for row, video in enumerate(WHOLE.videos)}
    rows = [order[video] for video in found.videos]
    assert rows == sorted(rows)
    few, _ = some_of_each_class(WHOLE, {"train": 3})
    assert sum(video.split == "val" for video in few.videos) == 30  # It was not named, and stays whole.


def test_seed_and_names_decide_and_nothing_else():
    counts = {"train": 20, "val": 5}
    first, _ = some_of_each_class(WHOLE, counts)
    assert some_of_each_class(WHOLE, counts)[0] == first
    assert set(some_of_each_class(WHOLE, counts, seed=1)[0].videos) != set(first.videos)
    videos = list(WHOLE.videos)
    random.Random(3).shuffle(videos)
    mixed, _ = some_of_each_class(Manifest(tuple(videos), WHOLE.classes), counts)
    assert set(mixed.videos) == set(first.videos)
    moved = kinetics({"a": 50, "b": 30, "c": 40, "d": 40}, {"a": 9, "b": 9, "c": 3, "d": 9}, "/else/where")
    paths = [video.path.removeprefix("/else/where") for video in some_of_each_class(moved, counts)[0].videos]
    assert paths == [video.path.removeprefix("/data") for video in first.videos]
    assert set(some_of_each_class(WHOLE, {"train": 10, "val": 2})[0].videos) < set(first.videos)
    gone = next(video for video in first.videos if video.label == 0)
    rest = Manifest(tuple(video for video in WHOLE.videos if video != gone), WHOLE.classes)
    assert len(set(some_of_each_class(rest, counts)[0].videos) - set(first.videos)) == 1


def test_parts_of_one_file_are_drawn_one_by_one():
    parts = tuple(Video("/videos/film.mp4", (Label(0),), float(n), n + 1.0, "train") for n in range(30))
    first, _ = some_of_each_class(Manifest(parts, ("a",)), {"train": 10})
    assert len(set(first.videos)) == 10 and set(first.videos) != set(parts[:10])
    turned, _ = some_of_each_class(Manifest(parts[::-1], ("a",)), {"train": 10})
    assert set(turned.videos) == set(first.videos)


def test_the_largest_classes_keep_their_order_and_labels():
    assert largest_classes(WHOLE, 3) == ["a", "c", "d"] and largest_classes(WHOLE, 2, "val") == ["a", "b"]
    found = of_classes(WHOLE, ["d", "a"])
    assert found.classes == ("a", "d")
    assert counts_of(found) == {("a", "train"): 50, ("d", "train"): 40, ("a", "val"): 9, ("d", "val"): 9}
    assert {video.label: video.path.split("/")[3] for video in found.videos} == {0: "a", 1: "d"}


def test_rows_of_several_labels_keep_those_of_the_classes():
    videos = (
        Video("/a.mp4", (Label(0, 1.0, 2.0), Label(2), Label(1))),
        Video("/b.mp4", (Label(0),)),
        Video("/c.mp4", ()),
    )
    found = of_classes(Manifest(videos, ("x", "y", "z")), ["y", "z"])
    assert found.videos == (Video("/a.mp4", (Label(1), Label(0))),)


def test_mirrored_classes_stay_partners_or_flips_are_refused():
    manifest = Manifest(
        tuple(Video(f"/{n}.mp4", (Label(n),)) for n in range(5)),
        ("up", "left", "down", "right", "still"),
        mirrored=(0, 3, 2, 1, 4),
    )
    pair = of_classes(manifest, ["right", "left", "still"])
    assert (pair.classes, pair.mirrored, pair.directional) == (("left", "right", "still"), (1, 0, 2), False)
    alone = of_classes(manifest, ["left", "still"])
    with pytest.raises(ValueError, match="Expected no flips"):
        check_flip(alone, flip=True)


def test_ids_are_names_with_and_without_times():
    videos = tuple(
        Video(f"/v/{name}", (Label(0),))
        for name in ("ab_-123_000010_000020.mp4", "ab_-123_000030_000040.mkv", "cd_000001_000002", "ef.mp4")
    )
    found, lost = of_ids(Manifest(videos, ("a",)), ["ab_-123", "gone", "ef", "cd_000001_000002"])
    assert found.videos == videos and lost == ["gone"]
    assert of_ids(Manifest(videos, ("a",)), ["cd"])[0].videos == videos[2:3]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: of_classes(WHOLE, ["a", "bb"]), "first 'bb'. Try: 'b'"),
        (lambda: of_classes(WHOLE, []), "Received none. Try: 'a'"),
        (lambda: of_classes(Manifest(WHOLE.videos, (*WHOLE.classes, "e")), ["e"]), "Expected a row of 1 cl"),
        (lambda: largest_classes(WHOLE, 5), "Received 5. Try: --classes=4"),
        (lambda: largest_classes(WHOLE, 0), "Received 0. Try: --classes=4"),
        (lambda: largest_classes(WHOLE, 1, "test"), "split 'test'. Received 'train', 'val'"),
        (lambda: some_of_each_class(WHOLE, {"test": 1}), "split 'test'. Received 'train', 'val'"),
        (lambda: of_ids(WHOLE, ["x"]), "first 'x'. Try: one id a line"),
        (lambda: of_ids(WHOLE, []), "Received 0 others. Try: one id a line"),
        (
            lambda: some_of_each_class(Manifest((Video("/x.mp4", (), split="train"),), ("a",)), {"train": 1}),
            "Received 0 for /x.mp4. Try: --classes or --ids alone",
        ),
    ],
)
def test_what_is_not_there_is_refused(part, message):
    with pytest.raises(ValueError, match=r"Expected .* Received .* Try: ") as raised:
        part()
    assert message in str(raised.value)


def test_the_command_makes_a_mini_kinetics(tmp_path, capsys):
    whole = kinetics({"a": 6, "b": 9, "c": 7}, {"a": 3, "b": 3, "c": 1}, tmp_path)
    for video in whole.videos[:-1]:  # The last one is missing, and so cannot be drawn.
        path = tmp_path / video.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    source, output = tmp_path / "all.jsonl", tmp_path / "parts" / "mini.jsonl"
    write_manifest(source, whole)
    flags = [f"--manifest={source}", f"--output={output}"]
    assert main(["subset", *flags, "--classes=2", "--per_class=train=7,val=2", "--seed=5"]) == 0
    said = capsys.readouterr().out
    assert "unusable     1 left out, such as" in said and "rows         16: train 14, val 2" in said
    assert "warning      1 classes have fewer than 2 of split val, such as c with 0" in said
    assert f"wrote {output}: 16 of 28 rows, 2 of 3 classes" in said
    found = read_manifest(output)
    assert found.classes == ("b", "c") and len(found) == 16
    ids = tmp_path / "ids.txt"
    ids.write_text("a_00001\n\nb_00002\nnone\n")
    output = tmp_path / "ids.csv"
    assert main(["subset", f"--manifest={source}", f"--output={output}", f"--ids={ids}"]) == 0
    assert "warning      1 of 3 ids have no row, such as none" in capsys.readouterr().out
    assert len(read_manifest(output)) == 4 and read_manifest(output).classes == whole.classes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Received nothing. Try: --classes=200"),
        (["--classes=none.txt"], "Received 'none.txt', where there is none. Try: --classes=FILE"),
        (["--ids=none.txt"], "Expected --ids to be a text file. Received 'none.txt'"),
        (["--per_class=train"], "Received 'train'. Try: --per_class=train=400,val=25"),
        (["--per_class=train=0"], "Received 'train=0'"),
        (["--per_class=train=1,train=2"], "Received 'train=1,train=2'"),
        (["--per_class=tarin=1"], "Expected rows of split 'tarin'. Received 'train'"),
        (["--classes=1", "--output=x.txt"], "Try: --output=x.jsonl"),
    ],
)
def test_wrong_flags_end_the_command_with_a_line(tmp_path, capsys, flags, message):
    (tmp_path / "a.mp4").touch()
    rows = (Video(str(tmp_path / "a.mp4"), (Label(0),), split="train"),)
    write_manifest(tmp_path / "m.jsonl", Manifest(rows, ("a",)))
    given = [f"--manifest={tmp_path / 'm.jsonl'}", f"--output={tmp_path / 'o.jsonl'}", *flags]
    assert main(["subset", *given]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "o.jsonl").exists()
