"""Decoding in processes of their own: the same frames, and whatever a process does is one bad video."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import ramp_videos
from resizing import to_short_side

from pipelines import clips
from pipelines.bad_video import BadVideo
from pipelines.decoding import isolation
from pipelines.decoding.decode import decode_frames, inspect
from pipelines.decoding.isolation import IsolatedDecoder
from pipelines.decoding.limits import Limits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs limits as POSIX has them")

ROOT = Path(__file__).parents[1]
# A child that serves as it should, but for sources with certain names.
MISCHIEF = """
import os, signal, sys, time
from pipelines.decoding import child
def decode(source, *args, decode_frames=child.decode_frames, **options):
    name, _, times = os.path.basename(source).partition("_")
    if name.startswith("SIG"):
        open(source + ".tries", "a").write("x")
        if os.path.getsize(source + ".tries") <= int(times):
            os.kill(os.getpid(), signal.Signals[name])
    if "crash" in source:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in source:
        time.sleep(60)
    if "exit" in source:
        os._exit(3)
    if "mistake" in source:
        raise TypeError("ours")
    if "print" in source:
        print('["frame", [1, 1, 3]]', flush=True)
    return decode_frames(source, *args, **options)
child.decode_frames = decode
child.serve(float(sys.argv[1]), int(sys.argv[2]))
"""
# A child that takes its time for each frame, and hangs after some.
SLOWNESS = """
import sys, time
from pipelines.decoding import child, containers, frames
pause, left = float(sys.argv[3]), int(sys.argv[4])
def whole_frames(decoded, whole_frames=frames.whole_frames):
    global left
    for frame in whole_frames(decoded):
        left -= 1
        time.sleep(pause if left >= 0 else 60)
        yield frame
containers.whole_frames = frames.whole_frames = whole_frames
child.serve(float(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.fixture
def mischief(monkeypatch):
    def command(timeout_seconds, memory_bytes):
        return [sys.executable, "-c", MISCHIEF, str(timeout_seconds), str(memory_bytes)]

    monkeypatch.setattr(isolation, "_command", command)


@pytest.fixture(scope="module")
def decoder():
    with IsolatedDecoder(workers=2) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return ramp_videos.write(tmp_path_factory.mktemp("ramp") / "v.mp4", options={"g": "10"})


@pytest.mark.parametrize("short_side", [None, 32])
@pytest.mark.parametrize("kind", ["path", "Path", "bytes"])
def test_the_frames_are_those_of_a_decoder_in_the_process(decoder, video, kind, short_side):
    source = {"path": str, "Path": Path, "bytes": lambda path: Path(path).read_bytes()}[kind](video)
    times = []
    transform = to_short_side(short_side)
    clip = decoder(source, lambda seconds: times.append(seconds) or [len(seconds) - 1, 3, 3], transform)
    expected = decode_frames(source, [39, 3, 3], transform)
    np.testing.assert_array_equal(clip.frames, expected.frames)
    np.testing.assert_array_equal(clip.seconds, expected.seconds)
    np.testing.assert_allclose(times[0], np.arange(40) / 25)
    assert decoder.inspect(source) == inspect(source)


def test_sources_of_other_kinds(decoder, tmp_path):
    folder = ramp_videos.write_folder(tmp_path / "folder", 3)
    assert ramp_videos.numbers(decoder(folder, [2, 0]).frames) == [2, 0]
    times = []
    decoder(folder, lambda seconds: times.append(seconds) or [0], folder_fps=2)
    np.testing.assert_array_equal(times[0], [0, 0.5, 1])
    wrong_index = ramp_videos.write_with_repeated_picture(tmp_path)  # Asks twice: 41 pictures, then 40.
    frames = decoder(wrong_index, lambda seconds: times.append(seconds) or [17, 3]).frames
    assert list(map(len, times[1:])) == [41, 40]
    assert ramp_videos.numbers(frames) == [17, 3]


def test_a_relative_path_is_that_of_the_parent(decoder, video, monkeypatch):
    assert len(decoder(video, [0]).frames) == 1  # The child is there, in another directory.
    monkeypatch.chdir(Path(video).parent)
    assert ramp_videos.numbers(decoder("v.mp4", [7]).frames) == [7]
    with pytest.raises(BadVideo, match=r"^w\.mp4: there is no such file"):
        decoder("w.mp4", [0])


def test_bad_videos_wrong_numbers_and_errors_of_the_caller_stay_what_they_are(decoder, video):
    def fail(seconds):
        raise ZeroDivisionError

    with pytest.raises(BadVideo, match="<bytes>: not a video"):
        decoder(b"This is a page that says 404.", [0])
    with pytest.raises(BadVideo, match="40 frames are above the limit of 39"):
        decoder.inspect(video, limits=Limits(frames=39))
    with pytest.raises(ValueError, match=r"Expected .*\[0, 40\).*Received .*Try"):
        decoder(video, [40])
    with pytest.raises(ValueError, match="Expected more than 0 frames a second"):
        decoder(video, [0], folder_fps=0)
    with pytest.raises(BadVideo, match="no frame between"):
        decoder(video, clips.frame_chooser(lambda count: [0], start=50.0))
    with pytest.raises(KeyError, match="ours"):
        decoder(video, [0], lambda frame: {}["ours"])
    with pytest.raises(ZeroDivisionError):
        decoder(video, fail)
    assert ramp_videos.numbers(decoder(video, [1]).frames) == [1]


def test_the_time_of_the_caller_does_not_count(video):
    def slowly(value):
        time.sleep(0.3)
        return value

    with IsolatedDecoder(workers=1, timeout_seconds=2) as decoder:
        decoder(video, [0])
        clip = decoder(video, lambda seconds: slowly(list(range(8))), slowly)  # Together it takes 2.7 s.
        assert ramp_videos.numbers(clip.frames) == list(range(8))


def test_many_threads_share_few_processes(decoder, video):
    choices = np.random.default_rng(0).integers(40, size=(40, 3))
    with ThreadPoolExecutor(6) as pool:
        decoded = list(pool.map(lambda choice: ramp_videos.numbers(decoder(video, choice).frames), choices))
    np.testing.assert_array_equal(decoded, choices)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("crash", r"crashed \(SIGSEGV\)"),
        ("exit", r"crashed \(status 3\)"),
        ("hang", r"more than 1\.5 seconds"),
        ("SIGKILL_2", r"killed from outside \(SIGKILL\)"),
        ("SIGTERM_2", r"killed from outside \(SIGTERM\)"),
        ("mistake", "a mistake of the decoder, not of the file: TypeError: ours"),
    ],
)
def test_what_a_process_dies_of_is_one_bad_video(mischief, video, tmp_path, name, reason):
    path = str(tmp_path / name)
    with IsolatedDecoder(workers=2, timeout_seconds=1.5) as decoder, ThreadPoolExecutor(4) as pool:
        decoder(video, [0])
        others = [pool.submit(decoder, video, [number]) for number in range(10)]
        with pytest.raises(BadVideo, match=reason) as raised:
            decoder(path, [0])
        others += [pool.submit(decoder, video, [number]) for number in range(10, 20)]
        assert [ramp_videos.numbers(other.result().frames)[0] for other in others] == list(range(20))
    assert raised.value.path == path
    assert raised.value.is_final == (name in ("crash", "exit"))


@pytest.mark.parametrize("name", ["SIGKILL_1", "SIGTERM_1"])
def test_a_process_that_is_killed_from_outside_is_replaced_once(mischief, video, tmp_path, name):
    os.link(video, tmp_path / name)
    with IsolatedDecoder(workers=1) as decoder:
        assert ramp_videos.numbers(decoder(tmp_path / name, [5, 7]).frames) == [5, 7]
        assert os.path.getsize(tmp_path / f"{name}.tries") == 2


@pytest.fixture(scope="module", params=["indexed.mp4", "counted.avi"])
def thirty_frames(request, tmp_path_factory):
    how = {"codec": "mpeg4"} if request.param.endswith("avi") else {"options": {"g": "100", "bf": "0"}}
    return ramp_videos.write(tmp_path_factory.mktemp("slow") / request.param, 30, **how)


@pytest.mark.parametrize("ask", ["run", "check"])
@pytest.mark.parametrize("pause, last, ends", [(0.07, 1000, False), (0.03, 25, True), (0.4, 1000, True)])
def test_each_frame_gives_time_for_the_next(monkeypatch, thirty_frames, ask, pause, last, ends):
    """A file may go on for long; it may neither hang nor go on too slowly."""
    arguments = [sys.executable, "-c", SLOWNESS]
    command = lambda *limits: [*arguments, *map(str, limits), str(pause), str(last)]  # noqa: E731
    monkeypatch.setattr(isolation, "_command", command)
    with IsolatedDecoder(workers=1, timeout_seconds=1.5) as decoder:
        start = time.monotonic()
        try:
            if ask == "run":
                assert ramp_videos.numbers(decoder(thirty_frames, [29]).frames) == [29]
            else:
                assert decoder.inspect(thirty_frames).frames == 30
            assert not ends and time.monotonic() - start > 30 * pause
        except BadVideo as bad:
            assert ends and "more than 1.5 seconds and 0.1 for each frame" in bad.reason
            assert not bad.is_final and time.monotonic() - start < 6


def test_words_of_progress_do_not_lengthen_a_lie(monkeypatch, thirty_frames):
    script = "import sys, time\nsys.stdin.buffer.readline()\n"
    script += "for n in range(10**9):\n print(f'[\"read\", {10**12 + n}]', flush=True)\n time.sleep(0.01)"
    monkeypatch.setattr(isolation, "_command", lambda *limits: [sys.executable, "-c", script])
    start = time.monotonic()
    decoder = IsolatedDecoder(workers=1, timeout_seconds=0.5)
    with decoder, pytest.raises(BadVideo, match=r"more than 0\.5 seconds"):
        decoder.inspect(thirty_frames, limits=Limits(frames=3))
    assert time.monotonic() - start < 4


def test_a_process_that_died_while_it_waited_harms_nobody(video):
    before = children(os.getpid())
    with IsolatedDecoder(workers=1) as decoder:
        decoder(video, [0])
        (child,) = set(children(os.getpid())) - set(before)
        os.kill(child, signal.SIGKILL)
        while Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        assert ramp_videos.numbers(decoder(video, [5]).frames) == [5]


def test_what_is_printed_does_not_get_between_the_answers(mischief, video, tmp_path):
    os.link(video, tmp_path / "print.mp4")
    with IsolatedDecoder(workers=1) as decoder:
        assert ramp_videos.numbers(decoder(tmp_path / "print.mp4", [5]).frames) == [5]


def test_the_memory_of_a_process_is_limited(video):
    giant = ramp_videos.image(0, height=5400, width=5400)
    with IsolatedDecoder(workers=1, memory_bytes=3 * 2**27) as decoder:
        with pytest.raises(BadVideo, match="more memory than there is") as raised:
            decoder(giant, [0])
        assert not raised.value.is_final
        assert len(decoder(video, [0]).frames) == 1


SECONDS = [b'["seconds", 2]\n', np.arange(2.0).tobytes()]
FRAME = [b'["frame", [8, 8, 3]]\n', bytes(8 * 8 * 3)]
LIES = {
    "no JSON": [b"hello\n"],
    "no list": [b'{"seconds": 3}\n'],
    "no kind": [b'["pickle", 3]\n'],
    "deep": [b"[" * 50_000 + b"\n"],
    "long": [b" " * (2**16 + 9) + b"\n"],
    "not its turn": [b'["facts", [1, 1.0, 1, 1, "h264"]]\n'],
    "too many frames": [b'["seconds", 1000000000000]\n'],
    "a count that is a word": [b'["seconds", "2"]\n'],
    "times that are no numbers": [SECONDS[0], np.array([0, np.nan]).tobytes()],
    "times that go back": [SECONDS[0], np.array([0.0, -1.0]).tobytes()],
    "times above the limit": [SECONDS[0], np.array([0.0, 1e9]).tobytes()],
    "more frames than asked": [*SECONDS, *FRAME, *FRAME, *FRAME],
    "frames without an end": [*SECONDS, *FRAME, *FRAME, b'["facts", null]\n'],
    "four channels": [*SECONDS, b'["frame", [32, 32, 4]]\n', bytes(32 * 32 * 4)],
    "frames of two sizes": [*SECONDS, *FRAME, b'["frame", [8, 6, 3]]\n', bytes(8 * 6 * 3)],
    "giants": [*SECONDS, b'["frame", [32, 1000000000, 3]]\n'],
    "negative": [*SECONDS, b'["frame", [-32, -32, 3]]\n'],
    "no shape": [*SECONDS, b'["frame", 3]\n'],
}


def saying(answers, end=""):
    script = f"import os, sys, time\nsys.stdin.buffer.readline()\nos.write(1, {b''.join(answers)!r})\n{end}"
    return lambda *limits: [sys.executable, "-c", script]


@pytest.mark.parametrize("name", LIES)
def test_a_process_that_lies_is_ended(monkeypatch, name):
    before = children(os.getpid())
    monkeypatch.setattr(isolation, "_command", saying(LIES[name], "time.sleep(0.3)"))
    with IsolatedDecoder(workers=1) as decoder, pytest.raises(BadVideo, match="answers nonsense"):
        decoder("v.mp4", [0, 1])
    assert children(os.getpid()) == before


def test_a_process_that_breaks_off_is_a_bad_video(monkeypatch):
    answers = [*SECONDS, b'["frame", [32, 32, 3]]\n', bytes(100)]
    monkeypatch.setattr(isolation, "_command", saying(answers))
    with IsolatedDecoder(workers=1) as decoder, pytest.raises(BadVideo, match="broke off"):
        decoder("v.mp4", [1])


@pytest.mark.parametrize(
    "facts", [[1, 25.0, 0, 5, "h264"], [1, "25", 5, 5, "h264"], [1, float("nan"), 5, 5, "x"], 7]
)
def test_facts_are_checked(monkeypatch, facts):
    monkeypatch.setattr(isolation, "_command", saying([json.dumps(["facts", facts]).encode() + b"\n"]))
    with IsolatedDecoder(workers=1) as decoder, pytest.raises(BadVideo, match="nonsense"):
        decoder.inspect("v.mp4")


def children(process):
    """Returns the processes whose parent is `process`, the dead that it has not asked about left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == process and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def test_processes_start_when_needed_and_end_with_the_decoder(video):
    before = children(os.getpid())
    decoder = IsolatedDecoder(workers=3)
    assert children(os.getpid()) == before
    decoder(video, [0])
    decoder(video, [1])
    (child,) = set(children(os.getpid())) - set(before)
    assert os.getpgid(child) != os.getpgid(0)  # An interrupt from the keyboard does not reach it.
    decoder.close()
    assert children(os.getpid()) == before
    with pytest.raises(RuntimeError, match=r"Expected an open decoder.*Received .*Try"):
        decoder(video, [0])


@pytest.mark.parametrize("busy", [False, True])
def test_no_process_outlives_a_parent_that_is_killed(video, tmp_path, busy):
    script = f"""
import sys, threading, time
from pipelines.decoding import isolation
mischief = {MISCHIEF!r}
isolation._command = lambda *limits: [sys.executable, "-c", mischief, *map(str, limits)]
decoder = isolation.IsolatedDecoder(workers=1, timeout_seconds=1)
decoder({video!r}, [0])
if {busy}:
    threading.Thread(target=decoder, args=("hang", [0])).start()
    time.sleep(0.2)
print("ready", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    (child,) = children(parent.pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_loads_no_more_than_it_needs():
    command = "import json, sys, pipelines.decoding.isolation; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, check=True)
    assert {"tensorflow", "keras", "tqdm", "pickle"} & set(json.loads(process.stdout)) <= {"pickle"}


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 1, "timeout_seconds": 0}])
def test_impossible_arguments_are_refused(options):
    with pytest.raises(ValueError, match=r"Expected .*Received .*Try"):
        IsolatedDecoder(**options)
