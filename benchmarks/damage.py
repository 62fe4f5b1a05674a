"""How many of 24 damages to a video file `inspect` finds, for each container and codec, beside ffmpeg.

python benchmarks/damage.py [--seed=0] [--only=mkv] [--missed]

Each file is cut off, has a byte changed, has a run of bytes set to zero, and lacks a part (a cluster, a page,
a fragment, a chunk, or a block of bytes), six times each at random places. "Harmed" are the files of which
the pixels of a frame or the number of frames differ from those of the whole file. The other damages hit what
no picture needs, such as an index. "Found" counts the harmed files that are called bad, and "idle" the others
that are. The program ffmpeg calls a file bad if `ffmpeg -v error -i FILE -f null -` prints something or ends
with a status that is not 0. Its columns are left out where there is no such program.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import av
import numpy as np

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import inspect

FRAMES, WIDTH, HEIGHT, DAMAGES = 50, 160, 120, 24
KEY_FRAMES = {"g": "10"}
# libvpx adapts its other modes to the time that they take.
VPX = KEY_FRAMES | {"deadline": "good", "cpu-used": "4"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
# Name -> (suffix, encoder, its options, the container's options).
FILES = {
    "mp4 h264": ("mp4", "libx264", KEY_FRAMES, {}),
    "mp4 hevc": ("mp4", "libx265", KEY_FRAMES | {"x265-params": "pools=none:log-level=none"}, {}),
    "mp4 av1": ("mp4", "libsvtav1", {"svtav1-params": "keyint=10:lp=1", "preset": "12"}, {}),
    "mp4 fragments h264": ("mp4", "libx264", KEY_FRAMES, FRAGMENTS),
    "mov mjpeg": ("mov", "mjpeg", {}, {}),
    "mkv h264": ("mkv", "libx264", KEY_FRAMES, {"cluster_time_limit": "400"}),
    "mkv vp9": ("mkv", "libvpx-vp9", VPX, {"cluster_time_limit": "400"}),
    "webm vp8": ("webm", "libvpx", VPX, {"cluster_time_limit": "400"}),
    "webm vp9": ("webm", "libvpx-vp9", VPX, {"cluster_time_limit": "400"}),
    "ogg vp8": ("ogg", "libvpx", VPX, {}),
    "avi mpeg4": ("avi", "mpeg4", KEY_FRAMES | {"bf": "2"}, {}),
    "avi mjpeg": ("avi", "mjpeg", {}, {}),
    "ts h264": ("ts", "libx264", KEY_FRAMES, {}),
    "ts mpeg2": ("ts", "mpeg2video", KEY_FRAMES, {}),
    "flv h264": ("flv", "libx264", KEY_FRAMES, {}),
    "flv flv1": ("flv", "flv", KEY_FRAMES, {}),
    "gif": ("gif", "gif", {}, {}),
}
# What a lost part begins with, and how many bytes stand before that.
PARTS = {
    "mkv": (b"\x1fC\xb6u", 0),
    "webm": (b"\x1fC\xb6u", 0),
    "ogg": (b"OggS", 0),
    "avi": (b"00dc", 0),
    "fragments": (b"moof", 4),
}


def write_video(path, encoder, options, container_options):
    """Writes a textured scene that moves."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    grain = np.random.default_rng(0).integers(-12, 13, (2 * HEIGHT, 2 * WIDTH, 1))
    with av.open(path, "w", container_options=container_options) as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.thread_count = WIDTH, HEIGHT, 1
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(encoder, "yuv420p")
        for frame in range(FRAMES):
            waves = [np.sin((columns * (k + 1) + rows * (3 - k) + 9 * frame) / 23) for k in range(3)]
            moved = grain[frame : frame + HEIGHT, 2 * frame : 2 * frame + WIDTH]
            picture = np.clip(128 + 80 * np.stack(waves, -1) + moved, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def damaged(whole, name, seed, number):
    """Returns (kind, bytes) of a damage: the first quarter of the numbers are cuts, and so on."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    kind = ("cut", "byte", "zeros", "lost")[number * 4 // DAMAGES]
    if kind == "cut":
        return kind, whole[: int(len(whole) * generator.uniform(0.05, 0.998))]
    place = int(generator.integers(len(whole) // 50, len(whole) - 4))
    if kind == "byte":
        changed = whole[place] ^ int(generator.integers(1, 256))
        return kind, whole[:place] + bytes([changed]) + whole[place + 1 :]
    if kind == "zeros":
        run = min(int(generator.integers(64, 1024)), len(whole) - place)
        return kind, whole[:place] + bytes(run) + whole[place + run :]
    mark, before = next((PARTS[word] for word in name.split() if word in PARTS), (b"", 0))
    begins = [match.start() - before for match in re.finditer(re.escape(mark), whole)] if mark else []
    # Without parts, blocks of a disk are lost.
    begins = begins[1:] or list(range(512, len(whole), 512))
    lost = int(generator.integers(len(begins) - 1))
    return kind, whole[: begins[lost]] + whole[begins[lost + 1] :]


def pictures(path):
    """Returns a checksum of each frame that FFmpeg decodes, whatever it reports."""
    sums = []
    with (
        contextlib.suppress(av.error.FFmpegError, IndexError),
        av.open(path, metadata_errors="replace") as container,
    ):
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.FFmpegError):
                sums += [zlib.crc32(frame.to_ndarray(format="rgb24")) for frame in packet.decode()]
    return sums


def inspect_refuses(path):
    """Returns whether `inspect` calls the file bad."""
    try:
        inspect(path)
    except BadVideo:
        return True
    return False


def ffmpeg_refuses(path):
    """Returns whether the program ffmpeg prints an error or ends with one."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True)
    return done.returncode != 0 or bool(done.stderr)


JUDGES = {"inspect": inspect_refuses} | ({"ffmpeg": ffmpeg_refuses} if shutil.which("ffmpeg") else {})


def measure(name, directory, seed, numbers=range(DAMAGES), report=None):
    """Returns the number of harmed files, and {judge: [harmed ones, other ones that it calls bad]}.

    Raises:
        ValueError: A judge calls the whole file bad.
    """
    suffix, *how = FILES[name]
    path = os.path.join(directory, f"whole.{suffix}")
    write_video(path, *how)
    whole, sums = Path(path).read_bytes(), pictures(path)
    wrong = [judge for judge, refuses in JUDGES.items() if refuses(path)]
    if wrong or len(sums) != FRAMES:
        raise ValueError(
            f"Expected a sound file of {FRAMES} frames. Received {len(sums)}, refused by {wrong}. "
            f"Try: other options for {name}."
        )
    harmed, found = 0, {judge: [0, 0] for judge in JUDGES}
    for number in numbers:
        kind, data = damaged(whole, name, seed, number)
        path = os.path.join(directory, f"{number}.{suffix}")
        Path(path).write_bytes(data)
        harm = pictures(path) != sums
        harmed += harm
        verdicts = {judge: refuses(path) for judge, refuses in JUDGES.items()}
        for judge, refused in verdicts.items():
            found[judge][not harm] += refused
        if report and harm:
            report(f"{name}, {number}: {kind}, {verdicts}")
    return harmed, found


def main(arguments=None):
    """Prints a line for each container and codec."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of the names of the files to be damaged")
    parser.add_argument("--missed", action="store_true", help="also prints the verdict on each harmed file")
    options = parser.parse_args(arguments)
    columns = [f"{judge} {what}" for judge in JUDGES for what in ("found", "idle")]
    print("| " + " | ".join(["file", f"harmed of {DAMAGES}", *columns]) + " |")
    print("|---" + "|--:" * (1 + len(columns)) + "|")
    total = np.zeros(1 + len(columns), int)
    for name in FILES:
        if options.only in name:
            with tempfile.TemporaryDirectory() as directory:
                harmed, found = measure(name, directory, options.seed, report=options.missed and print)
            row = [harmed, *(number for pair in found.values() for number in pair)]
            total += row
            print("| " + " | ".join(map(str, [name, *row])) + " |", flush=True)
    print("| " + " | ".join(map(str, ["all", *total])) + " |")


if __name__ == "__main__":
    main()
