"""Manifests: what is written is what is read, what is malformed is said in words, nothing is half-written."""

import json
import os
import time

import pytest

from pipelines.bad_video import BadVideo
from pipelines.manifest import (
    Check,
    Label,
    Manifest,
    Video,
    is_manifest,
    read_manifest,
    write_manifest,
)

HEADER = '{"keras_nonlocal_manifest": 1, "classes": ["archery", "yoga"]}'
OK = Check("ab" * 32, 250, 29.97, 340, 256, "h264", "ok")
BAD = Check("cd" * 32, 0, 0.0, 0, 0, "", "bad", 'says "no"; twice,\nat 3 @ s')
# Every field in use, and names with every sign that CSV and the labels' notation give a meaning.
CLASSES = ("archery", 'tai chi, "slow"', "yoga; a\\b @home", "naïve 瑜伽", "@1-2", "x@3.5-7", "back\\")
EVERYTHING = (
    Video("a.mp4", (Label(0),)),
    Video("b.mp4", (Label(2), Label(1)), split="train"),
    Video("c.mp4", (Label(2, 11.9, 21.2), Label(4), Label(6, 1e-05, 1e3), Label(0, 0.0, 0.0)), split="val"),
    Video("d.mp4", (Label(5, start=1.5), Label(3, end=2.25)), 1.0, 30.5, "val", OK),
    Video('odd, "name"\nof #1.mp4', (), start=0.1, check=BAD),
    Video("瑜伽 é.mp4", (Label(6),), end=3.0),
)


def touch(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_lines(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def below(directory, videos):
    return tuple(video._replace(path=f"{directory}/{video.path}") for video in videos)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    "more", [{}, {"directional": True, "mirrored": (1, 0, 2, 3, 4, 6, 5)}], ids=["plain", "directional"]
)
def test_what_is_written_is_what_is_read(tmp_path, suffix, more):
    manifest = Manifest(below(tmp_path, EVERYTHING), CLASSES, **more)
    path = tmp_path / f"m{suffix}"
    write_manifest(path, manifest)
    assert read_manifest(path, keep_bad=True) == manifest
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    again = tmp_path / f"again{suffix}"
    write_manifest(again, read_manifest(path, keep_bad=True))
    assert again.read_bytes() == path.read_bytes()


def test_json_lines_leave_out_what_has_its_default_value(tmp_path):
    path = tmp_path / "m.jsonl"
    videos = (EVERYTHING[0], EVERYTHING[3], Video("e.mp4", (Label(0),), check=BAD._replace(reason="cut")))
    write_manifest(path, Manifest(below(tmp_path, videos), CLASSES))
    header, *rows = map(json.loads, path.read_text().splitlines())
    assert header == {"keras_nonlocal_manifest": 1, "classes": list(CLASSES)}
    assert rows == [
        {"path": "a.mp4", "labels": ["archery"]},
        {
            "path": "d.mp4",
            "labels": [{"label": "x@3.5-7", "start": 1.5}, {"label": "naïve 瑜伽", "end": 2.25}],
            "start": 1.0,
            "end": 30.5,
            "split": "val",
            "check": {
                "sha256": "ab" * 32,
                "frames": 250,
                "fps": 29.97,
                "width": 340,
                "height": 256,
                "codec": "h264",
                "status": "ok",
            },
        },
        {
            "path": "e.mp4",
            "labels": ["archery"],
            "check": {"sha256": "cd" * 32, "status": "bad", "reason": "cut"},
        },
    ]


def test_csv_is_written_as_documented(tmp_path):
    videos = (
        Video("a.mp4", (Label(1),), split="val"),
        Video("b.mp4", (Label(0, 11.9, 21.2), Label(1)), end=30.0),
    )
    write_manifest(tmp_path / "m.csv", Manifest(below(tmp_path, videos), ("archery", "a;b@c\\d")))
    assert (tmp_path / "m.csv").read_text().splitlines() == [
        '# {"keras_nonlocal_manifest": 1, "classes": ["archery", "a;b@c\\\\d"]}',
        "path,labels,end,split",
        r"a.mp4,a\;b\@c\\d,,val",
        r"b.mp4,archery@11.9-21.2;a\;b\@c\\d,30.0,",
    ]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("yoga", [("yoga", None, None)]),
        ("", []),
        (" yoga ; archery ", [("yoga", None, None), ("archery", None, None)]),
        ("yoga@1-2", [("yoga", 1.0, 2.0)]),
        ("yoga@1.5-", [("yoga", 1.5, None)]),
        ("yoga@-2e1", [("yoga", None, 20.0)]),
        ("yoga@-", [("yoga", None, None)]),
        ("yoga@1e-3-2;archery", [("yoga", 0.001, 2.0), ("archery", None, None)]),
    ],
)
def test_labels_in_a_cell(tmp_path, cell, labels):
    path = write_lines(tmp_path / "m.csv", f"# {HEADER}", "labels,path", f"{cell},a.mp4")
    (video,) = read_manifest(path, keep_bad=True).videos
    numbers = {"archery": 0, "yoga": 1}
    assert video.labels == tuple(Label(numbers[name], start, end) for name, start, end in labels)


def test_without_a_header_the_classes_are_the_sorted_names(tmp_path):
    lines = [
        json.dumps({"path": f"{name}.mp4", "labels": [name]})
        for name in ("yoga", "archery", "tai chi", "yoga")
    ]
    json_lines = write_lines(tmp_path / "m.jsonl", *lines, "", "  ")
    table = write_lines(
        tmp_path / "m.csv", "path,labels", *(f"{n}.mp4,{n}" for n in ("yoga", "archery", "tai chi", "yoga"))
    )
    for path in (json_lines, table):
        manifest = read_manifest(path, keep_bad=True)
        assert manifest.classes == ("archery", "tai chi", "yoga")
        assert [video.label for video in manifest.videos] == [2, 0, 1, 2]


def test_classes_are_those_of_the_file_whatever_the_split(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    path = write_lines(tmp_path / "m.csv", "path,labels,split", "a.mp4,archery,train", "b.mp4,yoga,val")
    manifest = read_manifest(path, split="val")
    assert manifest.classes == ("archery", "yoga")
    assert manifest.videos == (Video(f"{tmp_path}/b.mp4", (Label(1),), split="val"),)
    assert len(read_manifest(path)) == 2
    with pytest.raises(ValueError, match=r"split 'test' in .*m\.csv. Received 'train', 'val'"):
        read_manifest(path, split="test")


def test_paths_are_relative_to_the_manifests_folder_or_absolute(tmp_path, monkeypatch):
    touch(tmp_path, "data/a.mp4", "elsewhere/b.mp4")
    monkeypatch.chdir(tmp_path)
    videos = tuple(
        Video(path, (Label(0),)) for path in ("data/a.mp4", f"{tmp_path}/data/a.mp4", "elsewhere/b.mp4")
    )
    write_manifest("data/m.jsonl", Manifest(videos, ("yoga",)))
    rows = [json.loads(line) for line in (tmp_path / "data" / "m.jsonl").read_text().splitlines()[1:]]
    assert [row["path"] for row in rows] == ["a.mp4", "a.mp4", f"{tmp_path}/elsewhere/b.mp4"]
    assert len(read_manifest("data/m.jsonl")) == 3
    os.rename("data", "moved")
    assert len(read_manifest("moved/m.jsonl")) == 3


def test_missing_and_bad_files_are_reported_or_kept(tmp_path):
    touch(tmp_path, "good.mp4", "bad.mp4", "frames/00001.jpg")
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "gone")
    names = (
        "good.mp4",
        "bad.mp4",
        "frames",
        "frames/",
        "missing.mp4",
        "no/such/folder.mp4",
        "nowhere.mp4",
        "x" * 300,
    )
    checks = {"bad.mp4": BAD, "good.mp4": OK}
    videos = tuple(Video(f"{tmp_path}/{name}", (Label(0),), check=checks.get(name)) for name in names)
    write_manifest(tmp_path / "m.jsonl", Manifest(videos, ("yoga",)))
    manifest = read_manifest(tmp_path / "m.jsonl")
    assert manifest.videos == (videos[0], *videos[2:4])
    assert {os.path.basename(bad.path): bad.reason for bad in manifest.unusable} == {
        "bad.mp4": BAD.reason
    } | dict.fromkeys(
        ("missing.mp4", "folder.mp4", "nowhere.mp4", "x" * 300), "annotated, but there is no such file"
    )
    assert all(isinstance(bad, BadVideo) for bad in manifest.unusable)
    assert read_manifest(tmp_path / "m.jsonl", keep_bad=True).videos == videos


def test_no_usable_video_is_an_error_that_names_the_first(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", HEADER, '{"path": "a.mp4", "labels": []}')
    with pytest.raises(ValueError, match=rf"the 1 rows of .*first, {tmp_path}/a\.mp4: .*no such file. Try"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "a.mp4", "labels": ["yoga"]', "a JSON object"),
        ('["a.mp4", "yoga"]', "a JSON object"),
        ("[" * 100_000, r"a JSON object.*\(10000\d characters\)"),
        ('{"path": "a.mp4", "labels": ["yoga"], "start": ' + "9" * 5000 + "}", "a JSON object"),
        ('{"labels": ["yoga"]}', "a `path`"),
        ('{"path": "", "labels": ["yoga"]}', "a `path`"),
        ('{"path": 7, "labels": ["yoga"]}', "a `path`"),
        ('{"path": "a\\u0000.mp4", "labels": ["yoga"]}', "a `path`"),
        ('{"path": "a.mp4"}', "a list of `labels` in line 3.*Received None"),
        ('{"path": "a.mp4", "labels": "yoga"}', "a list of `labels`"),
        ('{"path": "a.mp4", "labels": [1]}', "the name of a class"),
        ('{"path": "a.mp4", "labels": [" yoga"]}', "the name of a class"),
        ('{"path": "a.mp4", "labels": [["yoga"]]}', "the name of a class"),
        ('{"path": "a.mp4", "labels": ["juggling"]}', "one of the classes.*Received 'juggling'"),
        ('{"path": "a.mp4", "labels": [{"label": "yoga", "begin": 1}]}', "label, start, end"),
        ('{"path": "a.mp4", "labels": [{"label": "yoga", "start": 5, "end": 4}]}', "not after its `end`"),
        ('{"path": "a.mp4", "labels": [], "start": NaN}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "start": -1}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "end": Infinity}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "end": 1e12}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "end": ' + "9" * 400 + "}", "a number in"),
        ('{"path": "a.mp4", "labels": [], "end": true}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "end": "3"}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "start": 3, "end": 3}', "`start` before `end`"),
        ('{"path": "a.mp4", "labels": [], "end": 0}', "`start` before `end`"),
        ('{"path": "a.mp4", "labels": [], "split": 1}', "`split`"),
        ('{"path": "a.mp4", "labels": [], "label": "yoga"}', "no fields but"),
        ('{"path": "a.mp4", "labels": [], "check": "ok"}', "no fields but sha256"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "fine"}}', "ok or bad"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "ok", "frames": NaN}}', "a number in"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "ok", "frames": "3"}}', "`frames`"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "ok", "frames": null}}', "`frames`"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "ok", "reason": null}}', "`reason`"),
        ('{"path": "a.mp4", "labels": [], "check": {"status": "ok", "codec": 3}}', "`codec`"),
        (HEADER, "a `path`|no fields but"),
    ],
    ids=lambda value: value[:60],
)
def test_a_malformed_line_is_an_error_with_file_and_number(tmp_path, line, message):
    path = write_lines(tmp_path / "m.jsonl", HEADER, '{"path": "b.mp4", "labels": []}', line)
    with pytest.raises(ValueError, match=r"^Expected .* in line 3 of .*m\.jsonl. Received .* Try: ") as error:
        read_manifest(path)
    assert error.match(message)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,labels", "a.mp4,yoga"], r"the columns path,labels.* in line 1 .*'file'"),
        (["path,labels,colour", "a.mp4,yoga,red"], r"none but .* in line 1 .*'colour'"),
        (["path,labels,labels", "a.mp4,yoga,yoga"], r"in line 1 "),
        ([""], r"the columns path,labels"),
        (["path,labels,start", "a.mp4,yoga,1", "a.mp4,yoga"], r"one cell for each column in line 3 "),
        (["path,labels", "a.mp4,yoga,1"], r"one cell for each column in line 2 "),
        (["path,labels,start", "a.mp4,yoga,soon"], r"a number in line 2 .*'soon'"),
        (["path,labels,start", "a.mp4,yoga,nan"], r"a number in \[0, 1e\+09\) in line 2 "),
        (["path,labels", "a.mp4,yoga@5-4"], r"not after its `end`.* in line 2 "),
        (["path,labels", "a.mp4,yoga@1.2.3-4"], r"a number in line 2 "),
        (["path,labels", "a.mp4,me@home.com"], r"labels as .* in line 2 .*'me@home.com'"),
        (["path,labels", "a.mp4,yoga\\n"], r"labels as .* in line 2 "),
        (["path,labels", "a.mp4,yoga;"], r"the name of a class.* in line 2 "),
        (["path,labels", "a.mp4,yoga@1-2;"], r"labels as .* in line 2 "),
        (["path,labels,frames", "a.mp4,yoga,12"], r"ok or bad in line 2 "),
        (["path,labels", 'a.mp4,"yoga'], r"after line 0: unexpected end of data"),
        (["path,labels", "a.mp4," + "x" * 140_000], r"after line 0: field larger than field limit"),
        (["# {classes: 1}", "path,labels", "a.mp4,yoga"], r"a JSON object in line 1 "),
        ([f"# {HEADER}", "path", "a.mp4"], r"the columns path,labels.* in line 2 "),
        ([f"# {HEADER}", "path,labels", '"a\nb.mp4",yoga', "a.mp4,golf"], r"one of the classes.* in line 5 "),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_malformed_csv_is_an_error_with_its_line(tmp_path, lines, message):
    path = write_lines(tmp_path / "m.csv", *lines)
    with pytest.raises(ValueError, match=rf"(?s)^Expected .*{message}.*Try: "):
        read_manifest(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"keras_nonlocal_manifest": 2, "classes": ["yoga"]}',
        '{"keras_nonlocal_manifest": 1}',
        '{"keras_nonlocal_manifest": 1, "classes": "yoga"}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga", "yoga"]}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga", ""]}',
        '{"keras_nonlocal_manifest": 1, "classes": [["yoga"]]}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga"], "colour": "red"}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga"], "directional": "no"}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga"], "mirrored": [1]}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga"], "mirrored": [true]}',
        '{"keras_nonlocal_manifest": 1, "classes": ["yoga"], "mirrored": 0}',
        '{"keras_nonlocal_manifest": 1, "classes": ["a", "b", "c"], "mirrored": [1, 2, 0]}',
        '{"keras_nonlocal_manifest": 1, "classes": ["a", "b"], "mirrored": [0, 0]}',
    ],
)
def test_a_malformed_header_is_an_error(tmp_path, header):
    path = write_lines(tmp_path / "m.jsonl", header, '{"path": "a.mp4", "labels": []}')
    with pytest.raises(ValueError, match=r"^Expected .* in line 1 of .*m\.jsonl. Received .* Try: "):
        read_manifest(path)


def test_other_files_are_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match=r"\*\.jsonl or \*\.csv. Received '.*train\.txt'. Try: .*import"):
        read_manifest(tmp_path / "train.txt")
    with pytest.raises(FileNotFoundError, match=r"a manifest at '.*m\.csv'.*Try"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no rows at all"):
        read_manifest(tmp_path / "m.jsonl")
    for name in ("m.jsonl", "m.csv"):
        (tmp_path / name).write_bytes(b"path,labels\n\xff\xfe.mp4,yoga\n")
        with pytest.raises(ValueError, match=r"UTF-8 text in .*after line.*0xff.*Try"):
            read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("m.jsonl", HEADER, True),
        ("m.jsonl", "", True),
        ("m.csv", f"# {HEADER}\npath,labels", True),
        ("m.csv", "labels,path\nyoga,a.mp4", True),
        ("m.csv", '\ufeff"path","labels"\r\na.mp4,yoga', True),
        ("m.csv", "label,youtube_id,time_start,time_end,split\nyoga,path,0,10,val", False),
        ("m.csv", "pathway,labels", False),
        ("m.csv", "", False),
        ("m.txt", "path,labels", False),
    ],
)
def test_a_manifest_is_known_by_its_name_and_first_line(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert is_manifest(tmp_path / name) is expected


def test_what_is_no_file_is_no_manifest(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "odd.csv").write_bytes(b"\xff\x00\xfe,a\n")
    for name in ("gone.jsonl", "gone.csv", "folder.jsonl", "odd.csv"):
        assert not is_manifest(tmp_path / name)
    assert is_manifest(str(tmp_path / "gone.jsonl")) is False


def test_marks_and_line_ends_of_other_programs_do_no_harm(tmp_path):
    touch(tmp_path, "a.mp4")
    for name, text in (
        ("m.csv", "path,labels\r\na.mp4,yoga\r\n"),
        ("m.jsonl", '{"path": "a.mp4", "labels": ["yoga"]}\r\n'),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_manifest(tmp_path / name).classes == ("yoga",)


def test_a_name_that_is_no_utf8_goes_into_json_and_is_refused_in_csv(tmp_path):
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.mp4")
    open(path, "w").close()
    manifest = Manifest((Video(path, (Label(0),)),), ("yoga",))
    write_manifest(tmp_path / "m.jsonl", manifest)
    assert read_manifest(tmp_path / "m.jsonl") == manifest
    with pytest.raises(ValueError, match=r"UTF-8 for .*m\.csv. Received .*Try: a \.jsonl file"):
        write_manifest(tmp_path / "m.csv", manifest)


def test_classes_that_could_not_be_read_again_are_not_written(tmp_path):
    for classes in (("yoga", "yoga"), (" yoga",), ("",)):
        with pytest.raises(ValueError, match=r"different names to write .*Try"):
            write_manifest(tmp_path / "m.csv", Manifest((), classes))
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_manifest(tmp_path):
    write_manifest(tmp_path / "m.jsonl", Manifest(EVERYTHING, CLASSES))
    before = (tmp_path / "m.jsonl").read_bytes()
    with pytest.raises(IndexError):
        write_manifest(tmp_path / "m.jsonl", Manifest((Video("a.mp4", (Label(9),)),), ("yoga",)))
    assert (tmp_path / "m.jsonl").read_bytes() == before


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "m.jsonl").symlink_to(tmp_path / "real" / "m.jsonl")
    touch(tmp_path, "a.mp4")
    for _ in range(2):
        write_manifest(tmp_path / "m.jsonl", Manifest(below(tmp_path, EVERYTHING[:1]), CLASSES))
        assert (tmp_path / "m.jsonl").is_symlink()
        assert read_manifest(tmp_path / "m.jsonl").videos == below(tmp_path, EVERYTHING[:1])


def test_label_is_the_only_one_or_an_error():
    assert EVERYTHING[0].label == 0
    for video in (EVERYTHING[1], EVERYTHING[4]):
        with pytest.raises(ValueError, match=rf"(?s)one label .* Received {len(video.labels)}. Try"):
            _ = video.label


@pytest.mark.parametrize(
    ("labels", "multi_label"),
    [
        ((Label(0),), False),
        ((), True),
        ((Label(0), Label(1)), True),
        ((Label(0, 1.0),), True),
        ((Label(0, None, 1.0),), True),
    ],
)
def test_multi_label(labels, multi_label):
    videos = (Video("a.mp4", (Label(0),)), Video("b.mp4", labels))
    assert Manifest(videos, ("a", "b")).multi_label is multi_label


def test_the_fingerprint_tells_what_is_trained_on_and_not_where_it_lies():
    def fingerprint(videos, classes=CLASSES, folder="/data"):
        return Manifest(below(folder, videos), classes).fingerprint()

    video = Video("train/a.mp4", (Label(0),))
    base = fingerprint([video, EVERYTHING[1]])
    assert base == fingerprint([video, EVERYTHING[1]], folder="/other")
    assert base == fingerprint([video._replace(split="x", check=OK), EVERYTHING[1]])
    assert len(base) == 64 and set(base) <= set("0123456789abcdef")
    others = [
        [EVERYTHING[1], video],
        [video],
        [video, EVERYTHING[1], video],
        [video._replace(path="train/b.mp4"), EVERYTHING[1]],
        [video._replace(labels=(Label(1),)), EVERYTHING[1]],
        [video._replace(labels=(Label(0, 1.0),)), EVERYTHING[1]],
        [video._replace(start=1.0), EVERYTHING[1]],
        [video._replace(end=1.0), EVERYTHING[1]],
    ]
    prints = {base, fingerprint([video, EVERYTHING[1]], CLASSES[::-1]), *map(fingerprint, others)}
    assert len(prints) == 2 + len(others)
    assert fingerprint([video]) != fingerprint([video._replace(path="train/b.mp4")])
    assert Manifest((), ()).fingerprint() != Manifest((), ("a",)).fingerprint()


def test_rows_that_occur_twice_stay_twice(tmp_path):
    touch(tmp_path, "a.mp4")
    path = write_lines(tmp_path / "m.csv", "path,labels", "a.mp4,yoga", "a.mp4,yoga")
    assert len(read_manifest(path)) == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_ten_thousand_rows_are_read_in_well_under_a_second(tmp_path, suffix):
    names = [f"class {number % 100}/video_{number:05d}.mp4" for number in range(10_000)]
    touch(tmp_path, *names)
    videos = tuple(
        Video(f"{tmp_path}/{name}", (Label(number % 100),), check=OK) for number, name in enumerate(names)
    )
    write_manifest(
        tmp_path / f"m{suffix}", Manifest(videos, tuple(f"class {number}" for number in range(100)))
    )
    start = time.process_time()
    assert len(read_manifest(tmp_path / f"m{suffix}")) == 10_000
    assert time.process_time() - start < 1
