"""What a file claims takes no memory: limits hold before FFmpeg opens it, and are no fault of the file."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import ramp_videos
from hostile_videos import FAIR_INDEXES, INDEXES, with_key_frames
from resizing import to_short_side

from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding.claims import read_header
from pipelines.decoding.decode import decode_frames, inspect
from pipelines.decoding.limits import Limits, check

ROOT, CASES = Path(__file__).parents[1], Path(__file__).parent / "cases"
# Prints what became of each source, and by how many MB the process has grown.
IN_A_PROCESS_OF_ITS_OWN = """
import json, sys
from pathlib import Path
from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding.decode import decode_frames, inspect
def memory(name):
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) // 1024
before, outcomes = memory("VmRSS:"), []
for path in sys.argv[1:]:
    for read in (inspect, lambda path: decode_frames(path, [0])):
        try:
            outcomes.append(str(read(path)))
        except BadVideo as bad:
            outcomes.append(bad.reason + (", as it seems" if not bad.is_final else ""))
print(json.dumps([memory("VmHWM:") - before, outcomes]))
"""


def read_alone(*paths):
    command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, *map(str, paths)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    return json.loads(process.stdout)


def test_more_memory_for_decoders_lets_larger_frames_pass():
    assert Limits.of_decoders(570) == Limits()
    for megabytes, bits in ((1500, 12), (2300, 24)):  # 8K with 8 and 10 bits; the latter take 16 each.
        limits, pixels = Limits.of_decoders(megabytes), 7680 * 4320
        check(limits, pixels=pixels, decoder_bytes=pixels * (17 * (bits / 8 + 0.5) + 9))
    assert Limits.of_decoders(100).pixels == Limits().pixels


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc to measure memory")
def test_an_index_that_claims_millions_of_samples_takes_no_memory(tmp_path):
    paths = [CASES / "video_index_1x80M.mov"]
    for name, make in INDEXES.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(make())
        assert paths[-1].stat().st_size < 20_000
    start = time.monotonic()
    grown, outcomes = read_alone(*paths)
    assert all("samples are above the limit of 8,000,000, as it seems" in outcome for outcome in outcomes)
    assert len(outcomes) == 2 * len(paths)
    assert grown < 50 and time.monotonic() - start < 10


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc to measure memory")
def test_a_list_of_key_frames_takes_no_memory(tmp_path):
    path = Path(ramp_videos.write(tmp_path / "v.flv", 9, codec="flv"))
    path.write_bytes(with_key_frames(path.read_bytes(), 0x0FFFFFFF))
    grown, outcomes = read_alone(path)
    assert grown < 50
    assert outcomes[0].startswith("damaged or truncated: flv") and outcomes[1].startswith("Clip(")


@pytest.mark.parametrize("name", FAIR_INDEXES)
def test_a_long_file_of_much_sound_is_below_the_limit(name):
    data = FAIR_INDEXES[name]()
    read_header(data, Limits())
    with pytest.raises(Unusable, match="samples are above the limit of 320,000"):
        read_header(data, Limits(frames=20_000))


def test_other_files_have_no_header_and_broken_ones_do_no_harm():
    for data in (b"", b"abc", b"\0\0\0\1moov", b"\0\0\0\1moov" + b"\xff" * 8, b"\0\0\0\4moov" + bytes(9)):
        assert [kind for kind, _ in read_header(data, Limits()) if kind != b"moov"] == []
    whole = INDEXES["sound_chunks.mov"]()[-3000:]
    generator = np.random.default_rng(0)
    for end in generator.integers(len(whole), size=300):
        data = bytearray(whole)
        data[end] = generator.integers(256)
        for broken in (whole[:end], bytes(data)):
            try:
                read_header(broken, Limits())
            except Unusable as error:
                assert "above the limit" in str(error)


def test_a_header_of_many_boxes_is_refused():
    with pytest.raises(BadVideo, match="boxes are above the limit"):
        inspect(b"\0\0\0\x08free" * 1_000_001)
    inside = b"\0\0\0\x08free" * 2000
    with pytest.raises(BadVideo, match="2,001 boxes are above the limit of 2,000"):
        inspect((8 + len(inside)).to_bytes(4, "big") + b"moov" + inside, Limits(frames=1000))


@pytest.mark.parametrize("sides, short_side, reason", [(8, 64, None), (8, 256, "smaller short side")])
def test_a_long_side_takes_no_more_than_its_share(sides, short_side, reason):
    path = CASES / "video_tall_16x16000.mp4"

    def read(limits=None):
        more = {"limits": limits} if limits else {}
        return decode_frames(path, range(sides), to_short_side(short_side), **more).frames

    if reason is None:
        assert read().shape == (sides, 64 * 1000, 64, 3)
        with pytest.raises(
            BadVideo, match="bytes are above the limit of 90,000,000; try fewer frames"
        ) as raised:
            read(Limits(bytes=90_000_000))
    else:
        with pytest.raises(BadVideo, match=reason) as raised:
            read()
    assert not raised.value.is_final


@pytest.mark.parametrize("name, kept", [("v.mp4", 17), ("v.mkv", 17), ("v.avi", 2)])
def test_a_decoder_may_refer_to_many_frames(tmp_path, name, kept):
    how = {"codec": "mjpeg", "pixels": "yuvj420p"} if kept == 2 else {}
    path = ramp_videos.write(tmp_path / name, 9, **how)
    needed = 96 * 64 * (kept * 2 + 9)  # A frame has 12 bits a pixel, and 4 for its motion.
    assert inspect(path, Limits(decoder_bytes=needed)).frames == 9
    with pytest.raises(BadVideo, match=r"decoder bytes are above the limit of .* scale it down") as raised:
        inspect(path, Limits(decoder_bytes=needed - 1))
    assert not raised.value.is_final


def test_the_tracks_of_a_stream_are_added_up(tmp_path):
    """FFmpeg decodes frames of all tracks to open a transport stream: 30 of 4K took 737 MB."""
    path = str(tmp_path / "v.ts")
    with av.open(path, "w") as file:
        tracks = [file.add_stream("libx264", 25, options={"preset": "ultrafast"}) for _ in range(3)]
        for track in tracks:
            track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 40 * number, np.uint8))
            frame.pts = number
            for track in tracks:
                file.mux(track.encode(frame))
        for track in tracks:
            file.mux(track.encode(None))
    needed = 3 * 96 * 64 * (17 * 2 + 9)
    assert inspect(path, Limits(decoder_bytes=needed)).frames == 5
    with pytest.raises(BadVideo, match=f"{needed:,} decoder bytes are above the limit") as raised:
        inspect(path, Limits(decoder_bytes=needed - 1))
    assert not raised.value.is_final


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc to measure memory")
@pytest.mark.parametrize("name", ["zero", "pipe", "directory", "large", "large_png"])
def test_what_is_no_image_is_not_read(tmp_path, name):
    folder = Path(ramp_videos.write_folder(tmp_path / "v", 2))
    path = folder / "00000.jpg"
    begin = ramp_videos.image(0, codec="png", pixels="rgb24") if name == "large_png" else ramp_videos.image(0)
    if name == "zero":
        path.symlink_to("/dev/zero")
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "directory":
        path.mkdir()
    else:
        path.write_bytes(begin)
        os.truncate(path, 2**33)  # It takes no room on the disk.
    start = time.monotonic()
    grown, outcomes = read_alone(folder, path)
    assert grown < 50 and time.monotonic() - start < 10
    expected = r"8,589,934,592 bytes are above the limit" if "large" in name else "00000.jpg: "
    assert all(expected in outcome and "frames=" not in outcome for outcome in outcomes[:2])
    assert all(
        word in outcome for outcome in outcomes[2:] for word in ["above the limit"] * ("large" in name)
    )


def test_whether_the_file_is_to_blame(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", 9)
    for limits in (Limits(frames=8), Limits(pixels=96 * 64 - 1), Limits(seconds=0.3)):
        with pytest.raises(BadVideo, match="above the limit") as raised:
            inspect(path, limits)
        assert not raised.value.is_final
    for wreck in (Path(path).read_bytes()[:-200], b"no video", b""):
        with pytest.raises(BadVideo) as raised:
            inspect(wreck)
        assert raised.value.is_final
