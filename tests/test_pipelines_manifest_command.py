"""The command line of manifests: import, check and summary of real files, its ends, errors and helps."""

import hashlib
import inspect
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ramp_videos

from pipelines.manifest import Check, Label, Manifest, Video, read_manifest, write_manifest
from pipelines.manifest.annotations import FORMATS
from pipelines.manifest.command import main
from pipelines.records.command import main as records

ROOT = Path(__file__).parents[1]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


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


def test_a_check_with_more_time_replaces_what_one_in_a_hurry_found(tmp_path, capsys):
    path = ramp_videos.write(tmp_path / "v.mp4", num_frames=4)
    write_manifest(tmp_path / "m.jsonl", Manifest((Video(path, (Label(0),)),), ("yoga",)))
    for seconds, status in (("0.001", "bad"), ("60", "ok")):
        assert main(["check", f"--manifest={tmp_path / 'm.jsonl'}", f"--timeout_seconds={seconds}"]) == 0
        (row,) = read_manifest(tmp_path / "m.jsonl", keep_bad=True).videos
        assert row.check.status == status
        if status == "bad":
            assert "more than 0.001 seconds" in row.check.reason
            assert "not the file's fault" in row.check.reason in capsys.readouterr().out


def test_a_check_with_more_memory_replaces_what_one_with_little_found(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", num_frames=4, height=200, width=300)
    write_manifest(tmp_path / "m.jsonl", Manifest((Video(path, (Label(0),)),), ("yoga",)))
    for megabytes, status in (("1", "bad"), ("10", "ok")):
        assert main(["check", f"--manifest={tmp_path / 'm.jsonl'}", f"--decoder_megabytes={megabytes}"]) == 0
        (row,) = read_manifest(tmp_path / "m.jsonl", keep_bad=True).videos
        assert row.check.status == status and ("more decoder_megabytes" in row.check.reason) == (
            status == "bad"
        )


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
        (["check", "--manifest={}/m.jsonl", "--workers=0"], "above 0. Received 0, 60, 570"),
        (["check", "--manifest={}/m.jsonl", "--timeout_seconds=nan"], "above 0. Received .*, nan, 570"),
        (
            ["import", "--format=kinetics", "--data_dir={}", "--annotations=a", "--output={}/n.jsonl"],
            "an annotation file",
        ),
        (
            ["import", "--format=folders", "--data_dir={}/none", "--output={}/n.jsonl"],
            "a directory of videos",
        ),
        (
            ["import", "--format=folders", "--data_dir={}/data", "--output={}/n.txt"],
            r"an --output that ends in \.jsonl",
        ),
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


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_the_flags_of_a_format_are_the_arguments_of_its_reader(form):
    arguments = dict(inspect.signature(form.read).parameters)
    assert arguments.pop("keep_bad").default is False
    assert form.shares_classes == (arguments.pop("classes", None) is not None)
    assert list(arguments)[:2] == ["data_dir", form.split.name]
    assert set(arguments) == set(form.flags) and len(form.flags) == len(arguments)
    for flag in (form.split, *form.options):
        default = arguments[flag.name].default
        assert flag.default == (None if default is inspect.Parameter.empty else default), flag.name


def test_a_split_with_a_default_and_options_with_types(tmp_path, capsys):
    (tmp_path / "yoga").mkdir()
    (tmp_path / "yoga" / "a.jpg").touch()
    output = tmp_path / "m.jsonl"
    assert main(["import", "--format=folders", f"--data_dir={tmp_path}", f"--output={output}"]) == 0
    assert [video.path for video in read_manifest(output).videos] == [f"{tmp_path}/yoga/a.jpg"]
    arguments = ["import", "--format=hmdb51", f"--data_dir={tmp_path}", "--split=train", "--output=n.jsonl"]
    assert main([*arguments, "--fold=4"]) == 1
    assert "--fold to be one of 1, 2, 3. Received 4. Try: --fold=1." in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--fold=one"])


@pytest.mark.parametrize(
    "arguments", [[], ["import"], ["import", "--format"], ["import", "--format=mpeg"], ["check"]]
)
def test_what_is_missing_is_told_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: python -m pipelines.manifest" in capsys.readouterr().err


def test_summary_neither_decodes_nor_needs_tensorflow(tmp_path):
    write_manifest(tmp_path / "m.jsonl", Manifest((Video("a.mp4", (Label(0),), split="train"),), ("yoga",)))
    code = (
        "import sys, runpy; sys.argv = ['manifest', 'summary', sys.argv[1]]\n"
        "try: runpy.run_module('pipelines.manifest', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'tensorflow', 'av'} & set(sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code, f"--manifest={tmp_path / 'm.jsonl'}"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("rows         1: train 1")


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        (main, ["check", "--manifets=x"], "Received --manifets. Try: --manifest"),
        (main, ["check", "--manifest=x", "--worker=3"], "Received --worker. Try: --workers"),
        (main, ["chek", "--manifest=x"], "Try: check"),
        (main, ["import", "--format=folder", "--data_dir=x", "--output=y"], "Try: folders"),
        (main, ["import", "--format=folders", "--datadir=x", "--output=y"], "Try: --data_dir"),
        (records, ["--manifest=x", "--output=y", "--shortside=3"], "Received --shortside. Try: --short_side"),
        (records, ["--manifest=x", "--output=y", "--decode_isolation=proces"], "Try: process"),
    ],
)
def test_what_is_misspelt_is_told_with_the_nearest_name(program, arguments, words, capsys):
    with pytest.raises(SystemExit):
        program(arguments)
    assert words in capsys.readouterr().err


def test_an_import_says_what_its_flags_could_be(tmp_path, capsys):
    (tmp_path / "videos" / "train" / "a").mkdir(parents=True)
    ramp_videos.write(tmp_path / "videos" / "train" / "a" / "0.mp4", 5)
    arguments = ["import", "--format=folders", f"--data_dir={tmp_path / 'videos'}"]
    for added, words in (
        (["--split=trian", f"--output={tmp_path / 'm.jsonl'}"], "Try: --split=train"),
        (["--split=train", f"--output={tmp_path / 'm.txt'}"], f"Try: --output={tmp_path / 'm.jsonl'}"),
    ):
        assert main([*arguments, *added]) == 1
        assert capsys.readouterr().err.strip().endswith(words)
    output = tmp_path / "new" / "m.jsonl"
    assert main([*arguments, "--split=train", f"--output={output}"]) == 0
    assert main(["summary", f"--manifest={output}#train"]) == 1
    assert f"Try: '{output}'" in capsys.readouterr().err
