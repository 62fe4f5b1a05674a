"""Checking manifests: every file described, nothing lost by a kill at any instant; and the command line."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import ramp_videos

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Facts
from pipelines.manifest import Check, Label, Manifest, Video, checking, read_manifest, write_manifest
from pipelines.manifest.annotations import FORMATS
from pipelines.manifest.checking import check_manifest, main, summary

ROOT = Path(__file__).parents[1]
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


def test_a_summary_tells_everything_worth_knowing():
    def row(name, split="train", label=0, check=None, **times):
        return Video(f"/videos/{name}", (Label(label),), split=split, check=check, **times)

    videos = (
        row("a.mp4", check=ok(b"a")),
        row("b.mp4", check=ok(b"b")._replace(fps=29.97, frames=2997, codec="vp9"), end=30.0),
        row("b.mp4", check=ok(b"b")._replace(fps=29.97, frames=2997, codec="vp9"), start=95.0),
        row("copy of a.mp4", "val", check=ok(b"a")._replace(width=128, height=96)),
        row("c.mp4", label=1, check=bad("", "No such file or directory")),
        row("d.mp4", check=bad(sha256(b"d"), "cut off")),
        row("e.mp4", "val", check=bad(sha256(b"e"), "cut off")),
        row("f.mp4", "val"),
        row("f.mp4", "val"),
    )
    assert summary(Manifest(videos, ("archery", "golf", "yoga"))).splitlines() == [
        "rows         9: train 5, val 4",
        "classes      3, 2 without a usable row, such as golf",
        "not checked  2",
        "ok           4",
        "bad          3",
        "  2 cut off, such as /videos/d.mp4",
        "  1 No such file or directory, such as /videos/c.mp4",
        f"hours        {(10 + 30 + 5 + 10) / 3600:.2f}",
        "frames/s     25 2, 29.97 2",
        "sizes        340x256 3, 128x96 1",
        "codecs       h264 2, vp9 2",
        "warning      1 rows that occur more than once, such as /videos/f.mp4",
        "warning      1 contents that several files have, such as /videos/a.mp4 = /videos/copy of a.mp4",
        "warning      1 contents in several splits, such as /videos/a.mp4 = /videos/copy of a.mp4",
    ]


def write_kinetics(directory, videos):
    for split, number in videos:
        (directory / split).mkdir(exist_ok=True)
        path = directory / split / f"v{number}_000000_000010.mp4"
        ramp_videos.write(path, num_frames=5 + number, height=32, width=48)
        label = ("yoga", "archery")[number % 2]
        with open(directory / f"{split}.csv", "a", encoding="utf-8") as file:
            file.write("label,youtube_id,time_start,time_end,split\n" if file.tell() == 0 else "")
            file.write(f"{label},v{number},0,10,{split}\n")


def run(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.manifest", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, of which the suite may be one, and their children are deaf to interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_import_check_and_summary_of_real_files(tmp_path, capsys):
    write_kinetics(tmp_path, [("train", 0), ("train", 1), ("train", 2), ("val", 4), ("val", 6)])
    (tmp_path / "train" / "v1_000000_000010.mp4").write_bytes(b"no video")
    (tmp_path / "val" / "v4_000000_000010.mp4").unlink()
    output = tmp_path / "m.jsonl"
    options = [
        f"--data_dir={tmp_path}",
        "--annotations=train.csv",
        "--annotations=val.csv",
        f"--output={output}",
    ]
    assert main(["import", "--format=kinetics", *options]) == 0
    printed = capsys.readouterr().out
    assert "rows         5: train 3, val 2" in printed and "not checked  5" in printed
    assert "unusable     1, such as " in printed and "v4_000000_000010.mp4" in printed
    manifest = read_manifest(output, keep_bad=True)
    assert manifest.classes == ("archery", "yoga")
    assert [(video.split, video.label) for video in manifest.videos] == [
        ("train", 1),
        ("train", 0),
        ("train", 1),
        ("val", 1),
        ("val", 1),
    ]
    assert main(["import", "--format=kinetics", *options]) == 1
    assert capsys.readouterr().err.startswith("error: Expected an --output that does not exist.")

    assert main(["check", f"--manifest={output}", "--workers=2"]) == 0
    printed = capsys.readouterr().out
    assert "ok           3" in printed and "bad          2" in printed
    rows = [video.check for video in read_manifest(output, keep_bad=True).videos]
    assert [check.status for check in rows] == ["ok", "bad", "ok", "bad", "ok"]
    assert [check.frames for check in rows] == [5, 0, 7, 0, 11]
    assert rows[0] == Check(
        sha256((tmp_path / "train" / "v0_000000_000010.mp4").read_bytes()), 5, 25.0, 48, 32, "h264", "ok"
    )
    assert main(["check", f"--manifest={output}", "--strict"]) == 1
    capsys.readouterr()
    assert main(["summary", f"--manifest={output}"]) == 0
    assert capsys.readouterr().out == printed


def test_killed_and_interrupted_checks_end_as_an_undisturbed_one(tmp_path):
    (tmp_path / "train").mkdir()
    # Long enough that no signal comes too late.
    paths = [f"{tmp_path}/train/v{number}.mp4" for number in range(60)]
    content = Path(ramp_videos.write(tmp_path / "ramp.mp4", num_frames=200)).read_bytes()
    for number, path in enumerate(paths):
        Path(path).write_bytes(content if number % 5 else content[: len(content) // 2])
    manifest = Manifest(tuple(Video(path, (Label(0),)) for path in paths), ("yoga",))
    for name in ("m.jsonl", "undisturbed.jsonl"):
        write_manifest(tmp_path / name, manifest)
    before, journal = (tmp_path / "m.jsonl").read_bytes(), tmp_path / "m.jsonl.journal"
    done = 0
    for end in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = run("check", f"--manifest={tmp_path / 'm.jsonl'}", "--workers=2")
        until = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= done + 3):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(end)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == (130 if end == signal.SIGINT else -end), errors
        assert "Traceback" not in errors
        assert (tmp_path / "m.jsonl").read_bytes() == before
        done = journal.read_bytes().count(b"\n")
    assert done >= 9
    for name in ("m.jsonl", "undisturbed.jsonl"):
        process = run("check", f"--manifest={tmp_path / name}", "--workers=2")
        assert process.wait(timeout=60) == 0
        process.communicate()
    assert (tmp_path / "m.jsonl").read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
    assert not journal.exists()


def test_errors_are_one_line_and_status_1(tmp_path):
    process = run("check", f"--manifest={tmp_path / 'none.jsonl'}")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and output == ""
    assert errors.startswith("error: Expected a manifest at") and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["check", "--manifest={}/m.jsonl", "--workers=0"], "above 0. Received 0 and 60"),
        (["check", "--manifest={}/m.jsonl", "--timeout_seconds=nan"], "above 0. Received .* and nan"),
        (
            ["import", "--format=kinetics", "--data_dir={}", "--annotations=a", "--output={}/n.jsonl"],
            "an annotation file",
        ),
        (
            ["import", "--format=folders", "--data_dir={}/none", "--output={}/n.jsonl"],
            "a directory of videos",
        ),
        (["import", "--format=folders", "--data_dir={}/data", "--output={}/n.txt"], r"named \*\.jsonl or"),
    ],
)
def test_mistakes_on_the_command_line_are_told(tmp_path, capsys, arguments, message):
    (tmp_path / "data" / "yoga").mkdir(parents=True)
    (tmp_path / "data" / "yoga" / "a.jpg").touch()
    assert main([argument.format(tmp_path) for argument in arguments]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: Expected ") and "Try" in errors
    assert re.search(message, errors)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_help_for_each_of_its_flags(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["import", f"--format={name}", "--help"])
    text = capsys.readouterr().out
    assert "--data_dir" in text and "Several times for several splits" in " ".join(text.split())
    assert "classes CLASSES" not in text and "keep_bad" not in text


@pytest.mark.parametrize(
    "arguments", [[], ["import"], ["import", "--format"], ["import", "--format=mpeg"], ["check"]]
)
def test_what_is_missing_is_told_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: python -m pipelines.manifest" in capsys.readouterr().err


def test_summary_neither_decodes_nor_needs_tensorflow(files):
    code = (
        "import sys, runpy; sys.argv = ['manifest', 'summary', sys.argv[1]]\n"
        "try: runpy.run_module('pipelines.manifest', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'tensorflow', 'av'} & set(sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code, f"--manifest={files}"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("rows         10: train 10")
