"""Checking manifests: every file is described, and a kill at any instant loses nothing."""

import contextlib
import hashlib
import json
import os
import re
import threading
from pathlib import Path

import pytest

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Facts
from pipelines.manifest import Check, Label, Manifest, Video, checking, read_manifest, write_manifest
from pipelines.manifest.checking import check_manifest

FACTS = Facts(250, 25.0, 340, 256, "h264")


class Stop(Exception):
    """Ends a check from within."""


class Decoder:
    """Stands in for the real one: what a file says is what it is."""

    def __init__(self, stop_after=None):
        self.inspected, self.stop_after = [], stop_after
        self.lock = threading.Lock()

    def inspect(self, path):
        with self.lock:
            if len(self.inspected) == self.stop_after:
                raise Stop
            self.inspected.append(os.path.basename(path))
        if not os.path.isdir(path) and "bad" in Path(path).read_text():
            raise BadVideo(path, Path(path).read_text())
        return FACTS


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def ok(content):
    return Check(sha256(content), *FACTS, "ok")


def bad(digest, reason):
    return Check(digest, 0, 0.0, 0, 0, "", "bad", reason)


@pytest.fixture
def files(tmp_path):
    """Ten rows of ten files, v0 to v9; v3 and v7 are bad. Returns the manifest's path."""
    for number in range(10):
        (tmp_path / f"v{number}.mp4").write_text("is bad" if number in (3, 7) else f"video {number}")
    videos = [Video(f"{tmp_path}/v{n}.mp4", (Label(n % 2),), split="train") for n in range(10)]
    write_manifest(tmp_path / "m.jsonl", Manifest(tuple(videos), ("archery", "yoga"), directional=True))
    return tmp_path / "m.jsonl"


def expected_checks():
    return [bad(sha256(b"is bad"), "is bad") if n in (3, 7) else ok(f"video {n}".encode()) for n in range(10)]


def checks(path):
    return [video.check for video in read_manifest(path, keep_bad=True).videos]


@pytest.mark.parametrize("workers", [1, 4])
def test_every_row_gets_its_check_and_keeps_the_rest(files, workers):
    before = read_manifest(files)
    manifest = check_manifest(files, Decoder(), workers)
    assert read_manifest(files, keep_bad=True) == manifest
    assert checks(files) == expected_checks()
    assert manifest.classes == before.classes and manifest.directional
    assert [video._replace(check=None) for video in manifest.videos] == list(before.videos)
    assert {entry.name for entry in files.parent.iterdir()} == {"m.jsonl", *(f"v{n}.mp4" for n in range(10))}
    usable = read_manifest(files)
    assert len(usable) == 8
    assert [(os.path.basename(b.path), b.reason) for b in usable.unusable] == [
        ("v3.mp4", "is bad"),
        ("v7.mp4", "is bad"),
    ]


def test_a_csv_named_from_one_directory_and_then_from_another(files, monkeypatch):
    write_manifest(files.with_suffix(".csv"), read_manifest(files))
    monkeypatch.chdir(files.parent)
    with pytest.raises(Stop):
        check_manifest("m.csv", Decoder(4))
    monkeypatch.chdir("..")
    decoder = Decoder()
    check_manifest(os.path.join(files.parent.name, "m.csv"), decoder)
    assert len(decoder.inspected) == 6
    assert checks(files.with_suffix(".csv")) == expected_checks()


def test_folders_missing_files_pipes_and_segments(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("00002.jpg", "00001.jpg"):
        (frames / name).write_text(f"frame {name}")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "a.mp4").write_text("video")
    names = ("frames", "empty", "pipe.mp4", "missing.mp4", "a.mp4", "a.mp4")
    videos = tuple(Video(f"{tmp_path}/{name}", (), start=float(row)) for row, name in enumerate(names))
    write_manifest(tmp_path / "m.jsonl", Manifest(videos, ()))
    decoder = Decoder()
    check_manifest(tmp_path / "m.jsonl", decoder)
    listing = "".join(f"{n}\0{sha256(f'frame {n}'.encode())}\n" for n in ("00001.jpg", "00002.jpg"))
    assert checks(tmp_path / "m.jsonl") == [
        ok(listing.encode()),
        ok(b""),
        bad("", "neither a file nor a folder"),
        bad("", "No such file or directory"),
        ok(b"video"),
        ok(b"video"),
    ]
    assert sorted(decoder.inspected) == ["a.mp4", "empty", "frames"]


def test_checked_rows_are_left_alone_unless_asked_or_never_opened(files):
    (files.parent / "v5.mp4").unlink()
    check_manifest(files, Decoder())
    (files.parent / "v5.mp4").write_text("video 5")
    decoder = Decoder()
    check_manifest(files, decoder)
    assert decoder.inspected == ["v5.mp4"]
    assert checks(files) == expected_checks()
    (files.parent / "v3.mp4").write_text("repaired")
    decoder = Decoder()
    check_manifest(files, decoder, recheck=True)
    assert len(decoder.inspected) == 10
    assert checks(files)[3] == ok(b"repaired")


@pytest.mark.parametrize("stop_after", [0, 1, 6, 9])
def test_an_interrupted_check_goes_on_where_it_stopped(files, stop_after):
    before = files.read_bytes()
    first, second = Decoder(stop_after), Decoder()
    with pytest.raises(Stop):
        check_manifest(files, first)
    assert files.read_bytes() == before
    assert len(Path(f"{files}.journal").read_text().splitlines()) == stop_after
    check_manifest(files, second)
    assert sorted(first.inspected + second.inspected) == [f"v{n}.mp4" for n in range(10)]
    assert checks(files) == expected_checks()
    assert not os.path.exists(f"{files}.journal")


def test_a_journal_cut_at_any_byte_loses_no_more_than_its_last_line(files):
    with pytest.raises(Stop):
        check_manifest(files, Decoder(4))
    before, journal = files.read_bytes(), Path(f"{files}.journal").read_bytes()
    for length in range(0, len(journal) + 1, 41):
        files.write_bytes(before)
        Path(f"{files}.journal").write_bytes(journal[:length])
        again = Decoder(stop_after=7)
        with contextlib.suppress(Stop):
            check_manifest(files, again)  # Now a line of this run follows the one that was cut.
        last = Decoder()
        check_manifest(files, last)
        assert checks(files) == expected_checks()
        assert len(again.inspected) + len(last.inspected) == 10 - journal[:length].count(b"\n")


def test_damaged_lines_and_changed_files_are_inspected_again(files):
    with pytest.raises(Stop):
        check_manifest(files, Decoder(9))
    journal = Path(f"{files}.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[0], lines[2] = b"\xff{\n", b'{"path": "x"}\n'
    journal.write_bytes(b"".join([*lines, b"[1]\n", b"\n"]))
    names = [os.path.basename(json.loads(line)["path"]) for line in (lines[1], lines[4], lines[5])]
    (files.parent / names[0]).write_text("much longer now")
    os.utime(files.parent / names[1], ns=(0, 0))
    decoder = Decoder()
    check_manifest(files, decoder)
    assert set(names[:2]) < set(decoder.inspected) and names[2] not in decoder.inspected
    assert len(decoder.inspected) == 5
    assert ok(b"much longer now") in checks(files)


def test_rows_that_come_and_go_meanwhile_are_kept(files):
    (files.parent / "new.mp4").write_text("new")

    class Editor(Decoder):
        def inspect(self, path):
            if path.endswith("v8.mp4"):
                lines = files.read_text().splitlines()
                files.write_text("\n".join([*lines[:-1], '{"path": "new.mp4", "labels": ["yoga"]}']) + "\n")
            return super().inspect(path)

    manifest = check_manifest(files, Editor())
    assert [os.path.basename(video.path) for video in manifest.videos][-2:] == ["v8.mp4", "new.mp4"]
    assert checks(files) == [*expected_checks()[:-1], None]


def test_what_cannot_be_written_is_not_lost(files, monkeypatch):
    def fail(path, manifest):
        raise OSError(28, "No space left on device")

    before = files.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(checking, "write_manifest", fail)
        check_manifest(files, Decoder())
    assert files.read_bytes() == before
    decoder = Decoder()
    check_manifest(files, decoder)
    assert decoder.inspected == [] and checks(files) == expected_checks()


def test_an_error_that_is_not_a_files_fault_ends_the_check(files):
    class Broken:
        def inspect(self, path):
            raise OSError(12, "Cannot allocate memory")

    with pytest.raises(OSError, match="Cannot allocate"):
        check_manifest(files, Broken())
    assert set(checks(files)) == {None}


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_refusal_that_is_not_final_is_examined_again(files, interrupted):
    """A limit of ours, or a mishap of the machine, says nothing of the file."""

    class Hurried(Decoder):
        def inspect(self, path):
            facts = super().inspect(path)
            if path.endswith("v5.mp4"):
                raise BadVideo(path, "decoding took more than 60 seconds", is_final=False)
            return facts

    if interrupted:
        with pytest.raises(Stop):
            check_manifest(files, Hurried(stop_after=8))
        journal = Path(f"{files}.journal").read_text().splitlines()
        assert len(journal) == 7 and not any("v5.mp4" in line for line in journal)
        examined = Decoder()
        check_manifest(files, examined)
        assert sorted(examined.inspected) == ["v5.mp4", "v8.mp4", "v9.mp4"]
    else:
        check_manifest(files, Hurried())
        found = checks(files)[5]
        assert (found.status, found.sha256) == ("bad", "")
        assert found.reason.startswith("decoding took more than 60 seconds (not the file's fault")
        assert len(read_manifest(files)) == 7
        examined = Decoder()
        check_manifest(files, examined)
        assert examined.inspected == ["v5.mp4"]
    assert checks(files) == expected_checks()


def test_two_checks_at_a_time_are_refused(files):
    refusals = []

    class Second(Decoder):
        def inspect(self, path):
            try:
                check_manifest(files, Decoder())
            except ValueError as error:
                refusals.append(str(error))
            return super().inspect(path)

    check_manifest(files, Second())
    assert len(refusals) == 10
    assert re.search(r"alone in checking .*m\.jsonl.*another process.*Try: wait", refusals[0])
    assert checks(files) == expected_checks()


def test_the_bar_counts_the_bad_files(files, capsys):
    check_manifest(files, Decoder())
    assert "10/10" in capsys.readouterr().err.rpartition("\r")[2]
    check_manifest(files, Decoder(), recheck=True)
    assert "bad=2" in capsys.readouterr().err.rpartition("\r")[2]


def test_a_name_that_no_file_has_is_one_bad_row(files):
    text = Path(files).read_text()
    Path(files).write_text(text + '{"path": "\\ud800.mp4", "labels": ["yoga"]}\n')
    manifest = check_manifest(files, Decoder())
    *others, last = manifest.videos
    assert last.check == bad("", "no file can have this name")
    assert sum(video.check.status == "ok" for video in others) == 8
    assert len(read_manifest(files).unusable) == 3
