"""The program that makes records: the same bytes however it is stopped, by whomever the shards are made."""

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ramp_videos
import tensorflow as tf

from pipelines.decoding import isolation
from pipelines.manifest import Check, Label, Manifest, Video, write_manifest
from pipelines.records import command, prepare
from pipelines.records.shards import INDEX, Settings
from pipelines.records.source import open_records

ROOT = Path(__file__).parents[1]
COUNTS = range(12, 24)  # Frames of the good videos.


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """12 good videos in two splits, and one that is empty, one that is gone and one known to be bad."""
    folder = tmp_path_factory.mktemp("videos")
    rows = [
        Video(ramp_videos.write(folder / f"{n}.mp4", n), (Label(n % 2),), split="train" if n < 20 else "val")
        for n in COUNTS
    ]
    (folder / "empty.mp4").touch()
    known = Check("", 0, 0.0, 0, 0, "", "bad", "known to be bad")
    rows.insert(3, Video(str(folder / "empty.mp4"), (Label(0),), split="train"))
    rows.insert(7, Video(str(folder / "gone.mp4"), (Label(1),), split="train"))
    rows.insert(9, rows[0]._replace(path=rows[0].path + "x", check=known))
    write_manifest(folder / "all.jsonl", Manifest(tuple(rows), ("a", "b"), directional=True, mirrored=(1, 0)))
    return str(folder / "all.jsonl")


@pytest.fixture(scope="module")
def undisturbed(manifest, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "new" / "folder"
    assert command.main(flags(manifest, output)) == 0
    return output


def flags(manifest, output, *more):
    small = ["--short_side=48", "--fps=12.5", "--videos_per_shard=3", "--workers=2"]
    return [f"--manifest={manifest}", f"--output={output}", *small, "--decode_isolation=none", *more]


# The program with a decoder that takes its time, so that it can be stopped in the middle.
SLOW = """
import sys, time
from pipelines.decoding import decode
quick = decode.decode_frames
def slow(*arguments, **options):
    time.sleep(0.1)
    return quick(*arguments, **options)
decode.decode_frames = slow
from pipelines.records.command import main
sys.exit(main(sys.argv[1:]))
"""


def start_slow(arguments, **options):
    command = [sys.executable, "-c", SLOW, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def wait_for(condition, run):
    deadline = time.monotonic() + 60
    while not condition():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def contents(directory):
    return {entry.name: hashlib.sha256(entry.read_bytes()).hexdigest() for entry in Path(directory).iterdir()}


def test_every_video_becomes_a_record_or_is_named(undisturbed):
    records = open_records(undisturbed)
    assert [int(Path(video.path).stem) for video in records.manifest.videos] == list(COUNTS)
    assert [(Path(bad.path).name, bad.reason) for bad in records.manifest.unusable] == [
        ("12.mp4x", "known to be bad"),
        ("empty.mp4", "the file is empty (0 bytes)"),
        ("gone.mp4", "there is no such file"),
    ]
    for row, count in enumerate(COUNTS):
        row = tf.constant(row, tf.int64)
        ok, frames, seconds, _ = records.fetch(row, lambda n, _: tf.range(n), tf.range(0))
        assert ok and frames.shape[1:] == (48, 72, 3)
        assert ramp_videos.numbers(frames.numpy()) == list(range(0, count, 2))
        np.testing.assert_allclose(seconds, np.arange(0, count, 2) / 25, rtol=1e-6)


def test_the_index_keeps_what_the_manifest_says_and_nothing_else_is_left(undisturbed, manifest):
    records = open_records(undisturbed)
    assert records.manifest.classes == ("a", "b") and records.manifest.directional
    assert records.manifest.mirrored == (1, 0)
    assert [video.split for video in records.manifest.videos] == ["train"] * 8 + ["val"] * 4
    assert records.header["settings"] == {
        "short_side": 48,
        "fps": 12.5,
        "quality": 90,
        "split": None,
        "shards": 5,
    }
    assert sorted(contents(undisturbed)) == [f"all-0000{n}-of-00005.tfrecord" for n in range(5)] + [INDEX]


def test_a_split_is_taken_and_names_the_shards(manifest, tmp_path):
    assert command.main(flags(manifest, tmp_path, "--split=val")) == 0
    assert sorted(contents(tmp_path)) == [INDEX] + [f"val-0000{n}-of-00002.tfrecord" for n in range(2)]
    assert [int(Path(video.path).stem) for video in open_records(tmp_path).manifest.videos] == [
        20,
        21,
        22,
        23,
    ]


def test_the_shards_are_fixed_before_anything_is_decoded(manifest, monkeypatch):
    header, shards = prepare.plan(manifest, "gs://bucket/records", Settings(), videos_per_shard=4)
    assert [shard.path for shard in shards] == [
        f"gs://bucket/records/all-0000{number}-of-00004.tfrecord" for number in range(4)
    ]
    assert [len(shard.videos) for shard in shards] == [3, 4, 3, 4]
    again = prepare.plan(manifest, "gs://bucket/records", Settings(), videos_per_shard=4)
    assert (header, shards) == again
    monkeypatch.chdir(Path(manifest).parent)
    assert (header, shards) == prepare.plan(
        "all.jsonl", "gs://bucket/records", Settings(), videos_per_shard=4
    )
    assert header["unusable"][0][1] == "known to be bad"


def test_processes_of_their_own_and_any_number_of_workers_give_the_same_bytes(
    manifest, undisturbed, tmp_path
):
    isolated = flags(manifest, tmp_path, "--decode_isolation=process", "--workers=3")
    assert command.main(isolated) == 0
    assert contents(tmp_path) == contents(undisturbed)


def test_processes_have_the_time_of_the_flag(manifest, tmp_path, capsys):
    hurried = flags(manifest, tmp_path, "--decode_isolation=process", "--timeout_seconds=0.001")
    assert command.main(hurried) == 1
    assert "not one video could be read" in capsys.readouterr().err
    assert "more than 0.001 seconds" in (tmp_path / "index.jsonl").read_text()
    assert command.main(flags(manifest, tmp_path, "--timeout_seconds=0")) == 1
    assert "Expected --timeout_seconds in [0.001, " in capsys.readouterr().err


def test_a_decoder_has_the_memory_of_the_flag(manifest, tmp_path, capsys):
    assert command.main(flags(manifest, tmp_path, "--decoder_megabytes=0")) == 1
    assert "Expected --decoder_megabytes in [1, " in capsys.readouterr().err
    large = Video(ramp_videos.write(tmp_path / "v.mp4", 3, height=200, width=300), (Label(0),))
    write_manifest(tmp_path / "m.jsonl", Manifest((large,), ("a",)))
    for name in ("process", "none"):
        poor = f"--decode_isolation={name}", "--decoder_megabytes=1"
        assert command.main(flags(tmp_path / "m.jsonl", tmp_path / name, *poor)) == 1
        assert "try more decoder_megabytes" in (tmp_path / name / "index.jsonl").read_text()


def test_what_is_finished_is_not_done_again(manifest, undisturbed, monkeypatch, capsys):
    before = {entry.name: entry.stat().st_mtime_ns for entry in undisturbed.iterdir()}
    monkeypatch.setattr(isolation, "decode_frames", None)
    assert command.main(flags(manifest, undisturbed)) == 0
    assert {entry.name: entry.stat().st_mtime_ns for entry in undisturbed.iterdir()} == before
    assert "12 records, 3 bad videos" in capsys.readouterr().out


def test_killed_at_any_instant_it_goes_on_to_the_same_end(manifest, undisturbed, tmp_path, monkeypatch):
    arguments = flags(manifest, tmp_path, "--workers=1")
    for shards in (1, 3):
        with start_slow(arguments) as run:
            wait_for(lambda least=shards: len(list(tmp_path.glob("*.tfrecord.json"))) >= least, run)
            time.sleep(0.05)
            run.send_signal(signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL
        assert shards <= len(list(tmp_path.glob("all-*.tfrecord"))) < 5
        assert not (tmp_path / INDEX).exists()
        with pytest.raises(FileNotFoundError, match="the same command again"):
            open_records(tmp_path)
    assert list(tmp_path.glob(".partial-*"))
    damaged = tmp_path / "all-00001-of-00005.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    made, quick = [], isolation.decode_frames
    monkeypatch.setattr(
        isolation, "decode_frames", lambda path, *a, **k: made.append(path) or quick(path, *a, **k)
    )
    assert command.main(arguments) == 0
    assert contents(tmp_path) == contents(undisturbed)
    made = {Path(path).name for path in made}
    assert "14.mp4" in made and "23.mp4" in made  # Of the damaged shard, and of one that was not finished.
    assert "12.mp4" not in made


def test_an_interrupt_ends_it_in_a_line_and_leaves_no_half_shards(manifest, undisturbed, tmp_path):
    # A process in the background of a shell ignores interrupts.
    hearing = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with start_slow(flags(manifest, tmp_path), **hearing) as run:
        wait_for(lambda: (tmp_path / "unfinished.json").exists() and list(tmp_path.glob(".partial-*")), run)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "Traceback" not in said
    assert "stopped; the same command goes on from here" in said
    left = {path.name for path in tmp_path.iterdir()} - {"unfinished.json"}
    assert INDEX not in left and (tmp_path / "unfinished.json").exists()
    whole = {name.removesuffix(".json") for name in left}  # A shard or two may have been finished already.
    assert left == whole | {f"{name}.json" for name in whole} and len(whole) < 3
    assert command.main(flags(manifest, tmp_path)) == 0
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize(
    "other, named",
    [
        (["--fps=5"], "fps"),
        (["--short_side=40"], "short_side"),
        (["--quality=80"], "quality"),
        (["--split=val"], "fingerprint, shards, split, unusable"),
        (["--videos_per_shard=5"], "shards"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_in_the_same_directory_are_refused(
    manifest, undisturbed, tmp_path, capsys, other, named, finished
):
    output = undisturbed
    if not finished:
        output = tmp_path
        prepare.begin(str(output), prepare.plan(manifest, "", Settings(48, 12.5), None, 3)[0])
    before = contents(output)
    assert command.main(flags(manifest, output, *other)) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(rf"error: Expected the manifest and the settings .* others: {named} differ. Try: ", said)
    remedy = re.fullmatch(r".* Try: (--\w+=\S+), or another --output", said)
    assert bool(remedy) == (named in ("fps", "short_side", "quality"))
    if remedy and finished:
        assert command.main(flags(manifest, output, *other, remedy[1])) == 0
    assert contents(output) == before


def test_another_manifest_in_the_same_directory_is_refused(manifest, undisturbed, tmp_path, capsys):
    lines = Path(manifest).read_text().splitlines()
    other = Path(manifest).with_name("other.jsonl")
    other.write_text("\n".join([lines[0], *lines[2:], lines[1]]))
    assert command.main(flags(other, undisturbed)) == 1
    assert "others: fingerprint, manifest differ" in capsys.readouterr().err


def test_a_directory_of_other_things_is_refused(manifest, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert command.main(flags(manifest, tmp_path)) == 1
    assert "error: Expected an empty directory" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong",
    ["--short_side=0", "--fps=-1", "--fps=nan", "--fps=inf", "--quality=101", "--workers=0"]
    + ["--videos_per_shard=0"],
)
def test_flags_out_of_range_are_named(manifest, tmp_path, capsys, wrong):
    name, value = wrong.split("=")
    assert command.main(flags(manifest, tmp_path / "new", wrong)) == 1
    assert re.search(rf"error: Expected {name} in .* Received {value}.*Try", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_a_missing_manifest_and_nothing_but_bad_videos_are_errors_in_a_line(tmp_path, capsys):
    assert command.main(flags(tmp_path / "none.jsonl", tmp_path / "new")) == 1
    assert "error: Expected a manifest" in capsys.readouterr().err
    write_manifest(tmp_path / "bad.jsonl", Manifest((Video(str(tmp_path / "gone.mp4"), ()),), ()))
    assert command.main(flags(tmp_path / "bad.jsonl", tmp_path / "new")) == 1
    assert "not one video could be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--manifest=a.jsonl"], "expected --manifest and --output, or --verify"),
        (["--verify=a", "--runner=FlinkRunner"], "--runner=FlinkRunner .flags of Beam need --beam"),
        (["--verify=a", "--out=b"], "Received --out. Try: --output"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(capsys, arguments, said):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert re.search(said, capsys.readouterr().err)


def test_verifying_finds_nothing_wrong_or_names_what_is_lost(undisturbed, tmp_path, capsys):
    assert command.main([f"--verify={undisturbed}", "--workers=2"]) == 0
    assert f"{undisturbed}: as it was written" in capsys.readouterr().out
    for entry in undisturbed.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    broken = tmp_path / "all-00000-of-00005.tfrecord"
    broken.write_bytes(broken.read_bytes()[:-1])
    (tmp_path / "all-00004-of-00005.tfrecord").unlink()
    assert command.main([f"--verify={tmp_path}", "--workers=2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines if line[0] != " "] == [
        "all-00000-of-00005.tfrecord",
        "all-00004-of-00005.tfrecord",
    ]
    lost = [Path(line).name for line in lines if line.startswith("  lost: ")]
    assert lost == ["13.mp4", "21.mp4", "22.mp4", "23.mp4"]
    (tmp_path / INDEX).unlink()
    assert command.main([f"--verify={tmp_path}"]) == 1
    assert "error: Expected records in" in capsys.readouterr().err


needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="Apache Beam has an environment of its own: make test-beam",
)


@needs_beam
@pytest.mark.parametrize("more", [[], ["--runner=DirectRunner", "--direct_num_workers=2"]])
def test_beam_makes_the_same_bytes(manifest, undisturbed, tmp_path, more):
    arguments = flags(manifest, tmp_path, "--beam", *more)
    command = [sys.executable, "-m", "pipelines.records", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-3000:]
    assert contents(tmp_path) == contents(undisturbed)


@needs_beam
def test_beam_goes_on_where_threads_have_stopped(manifest, undisturbed, tmp_path):
    header, shards = prepare.plan(manifest, str(tmp_path), Settings(48, 12.5), None, 3)
    prepare.begin(str(tmp_path), header)
    prepare.prepare(shards[1:3], isolation.decode_frames, 1)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tfrecord")}
    assert len(kept) == 2
    assert command.main(flags(manifest, tmp_path, "--beam")) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is here")
def test_without_beam_its_flag_says_how_to_get_it(manifest, tmp_path, capsys):
    assert command.main(flags(manifest, tmp_path, "--beam", "--runner=DirectRunner")) == 1
    assert re.search(r"error: Expected Apache Beam.*Try: pip install", capsys.readouterr().err)
    assert os.listdir(tmp_path) == []
