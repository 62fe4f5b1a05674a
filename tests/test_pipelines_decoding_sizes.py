"""Videos whose picture changes its size: all frames are shown in the size that the file begins with."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import ramp_videos

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import decode_frames, inspect
from pipelines.decoding.isolation import IsolatedDecoder

CASES = Path(__file__).parent / "cases"


def write_two_sizes(directory, name):
    """Writes frames 0 to 39 with 96 x 64 pixels, and then again with 64 x 112."""
    parts = []
    for number, (height, width) in enumerate([(64, 96), (112, 64)]):
        part = ramp_videos.write(
            directory / f"{number}.h264", 40, height, width, options={"bf": "0", "g": "10"}
        )
        parts.append(part)
    if name.endswith(".h264"):
        (directory / name).write_bytes(b"".join(Path(part).read_bytes() for part in parts))
        return str(directory / name)
    with av.open(str(directory / name), "w") as new:
        with av.open(parts[0]) as old:
            stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for part in parts for packet in packets_of(part)):
            packet.stream = stream
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, 25)
            new.mux(packet)
    return str(directory / name)


def packets_of(path):
    with av.open(path) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


@pytest.fixture(scope="module", params=["indexed.mkv", "counted.h264", "counted.ts"])
def two_sizes(request, tmp_path_factory):
    return write_two_sizes(tmp_path_factory.mktemp("sizes"), request.param)


@pytest.mark.parametrize("choice", [[0, 79], [79], [45, 44], [39, 40], range(80)], ids=str)
def test_all_frames_have_the_size_of_the_first_whichever_are_chosen(two_sizes, choice):
    frames = decode_frames(two_sizes, choice).frames
    assert frames.shape == (len(choice), 64, 96, 3)
    assert ramp_videos.numbers(frames) == [number % 40 for number in choice]
    assert ramp_videos.position_error(frames) < 0.06
    facts = inspect(two_sizes)
    assert (facts.frames, facts.width, facts.height) == (80, 96, 64)


def test_a_file_that_was_called_damaged():
    path = CASES / "c11_reschange.webm"
    assert inspect(path) == (75, pytest.approx(25, abs=0.01), 176, 144, "vp8")
    frames = decode_frames(path, range(75)).frames
    assert frames.shape == (75, 144, 176, 3)
    for choice in ([0], [30], [74], [60, 10, 30]):
        np.testing.assert_array_equal(decode_frames(path, choice).frames, frames[list(choice)])
    with IsolatedDecoder(workers=1) as decode:
        np.testing.assert_array_equal(decode(path, [60, 10, 30]).frames, frames[[60, 10, 30]])
        assert decode.inspect(path) == inspect(path)


def test_images_of_a_folder_have_the_upright_size_of_the_first(tmp_path):
    path = Path(ramp_videos.write_folder(tmp_path / "v", 4))
    (path / "00002.jpg").write_bytes(ramp_videos.image(1, height=100, width=60))
    (path / "00003.jpg").write_bytes(ramp_videos.image(2, codec="png", pixels="rgb24", height=32, width=48))
    # Its pixels are stored on their side.
    (path / "00004.jpg").write_bytes(ramp_videos.image(3, height=96, width=64, orientation=6))
    for choice in ([0, 1, 2], [2], [1]):
        frames = decode_frames(path, choice).frames
        assert frames.shape == (len(choice), 64, 96, 3)
        assert ramp_videos.numbers(frames) == choice
        assert ramp_videos.position_error(frames) < 0.06
    turned = decode_frames(ramp_videos.image(3, height=96, width=64, orientation=6), [0]).frames
    np.testing.assert_array_equal(decode_frames(path, [3]).frames, turned)
    assert inspect(path) == (4, pytest.approx(12), 96, 64, "mjpeg")


def test_the_size_of_a_folder_is_upright(tmp_path):
    path = Path(ramp_videos.write_folder(tmp_path / "v", 2))
    first = ramp_videos.image(0, orientation=8)
    # Such bytes may fill the space before a segment.
    (path / "00001.jpg").write_bytes(first[:2] + b"\xff\xff" + first[2:])
    assert decode_frames(path, [0, 1]).frames.shape == (2, 96, 64, 3)
    assert inspect(path)[2:4] == (64, 96)


def test_a_first_image_without_a_size_is_bad_whichever_frames_are_chosen(tmp_path):
    path = Path(ramp_videos.write_folder(tmp_path / "v", 2))
    for content in (ramp_videos.image(0)[:100], b"no image"):
        (path / "00001.jpg").write_bytes(content)
        reasons = set()
        for read in (inspect, lambda path: decode_frames(path, [1])):
            with pytest.raises(BadVideo) as raised:
                read(path)
            reasons.add(raised.value.reason)
        assert len(reasons) == 1 and reasons.pop().startswith("00001.jpg: ")
