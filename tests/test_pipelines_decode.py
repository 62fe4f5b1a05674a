"""Decoding: the exact frames of every kind of file, and a reason in words for every kind of wreck."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import ramp_videos

from pipelines.bad_videos import BadVideo
from pipelines.decode import decode_frames

# What ramp_videos.write makes of each file name; H.264 in MP4 with B-frames where nothing else is said.
FILES = {
    "one_key_frame.mp4": {"options": {"g": "1000", "bf": "3", "sc_threshold": "0"}},
    "key_frame_each_10.mp4": {"options": {"g": "10", "bf": "2", "sc_threshold": "0"}},
    "open_groups.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}},
    "key_frames_only.mp4": {"options": {"g": "1"}},
    "no_b_frames.mp4": {"options": {"bf": "0", "g": "10"}},
    "uneven_times.mp4": {"times": [n * n + n for n in range(40)], "options": {"g": "10", "bf": "3"}},
    "late_start.mp4": {"times": list(range(100, 140)), "options": {"g": "10"}},
    "matroska.mkv": {"options": {"g": "10"}},
    "sound.mp4": {"audio": True, "options": {"g": "10"}},
    "sound.mkv": {"audio": True, "options": {"g": "10"}},
    "odd_sides.mp4": {"pixels": "yuv444p", "height": 63, "width": 97, "options": {"g": "10"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}},
    "transport.ts": {"options": {"g": "10"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"b": "4000000", "bf": "2", "g": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"b": "4000000", "bf": "2", "g": "12"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "10", "b": "2000000"}},
}
CHOICES = [
    [0],
    [39],
    [17],
    [0, 39],
    [20, 20, 20],
    [35, 3, 35, 12, 0, 39, 11],
    [9, 10, 11, 19, 20, 21],
    [2, 31, 33],
    list(range(39, -1, -1)),
]
REAL_VIDEOS = Path(__file__).parent.parent.parent / "shared" / "videos"


@pytest.fixture(scope="module", params=FILES)
def ramp_video(request, tmp_path_factory):
    return ramp_videos.write(tmp_path_factory.mktemp("ramp") / request.param, **FILES[request.param])


@pytest.fixture(scope="module", params=["closed", "open"])
def grouped_video(request, tmp_path_factory):
    """40 frames, a key frame each 10, the index in front: written once, to be damaged in many ways.

    Frames stored after a key frame of an "open" group but shown before it lean on the group before.
    """
    path = tmp_path_factory.mktemp("ramp") / "grouped.mp4"
    open_group = "1" if request.param == "open" else "0"
    parameters = f"keyint=10:min-keyint=10:scenecut=0:bframes=2:b-adapt=0:open-gop={open_group}"
    options = {"x264-params": parameters, "crf": "8"}
    return ramp_videos.write(path, options=options, container_options={"movflags": "faststart"})


def test_all_frames_come_in_order_of_display_with_every_pixel_in_its_place(ramp_video):
    frames = decode_frames(ramp_video, lambda num_frames: list(range(num_frames)))
    assert frames.dtype == np.uint8
    assert ramp_videos.numbers(frames) == list(range(40))
    assert ramp_videos.position_error(frames) < 0.05


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_any_choice_of_frames_is_exact(ramp_video, choice):
    assert ramp_videos.numbers(decode_frames(ramp_video, choice)) == choice


def test_random_choices_are_exact_and_the_same_from_path_bytes_and_function(ramp_video):
    generator = np.random.default_rng(0)
    for _ in range(5):
        choice = generator.integers(40, size=generator.integers(1, 9))
        frames = decode_frames(ramp_video, choice)
        assert ramp_videos.numbers(frames) == choice.tolist()
        np.testing.assert_array_equal(frames, decode_frames(Path(ramp_video).read_bytes(), choice))
        np.testing.assert_array_equal(frames, decode_frames(Path(ramp_video), lambda n, c=choice: c % n))


def test_frames_before_the_start_of_the_edit_list_do_not_count(tmp_path):
    options = {"g": "40", "bf": "2"}
    path = ramp_videos.write(tmp_path / "cut.mp4", times=list(range(-15, 25)), options=options)
    counts = []
    frames = decode_frames(path, lambda num_frames: counts.append(num_frames) or [0, 12, 24])
    assert counts == [25]
    assert ramp_videos.numbers(frames) == [15, 27, 39]


def copy_packets(source, target, change):
    """Copies a video without coding it anew; `change` makes a list of packets of each (number, packet)."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            for copy in change(number, packet) if packet.size else []:
                copy.stream = stream
                new.mux(copy)
    return str(target)


def packet_like(packet, data, delay=0):
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.time_base = packet.pts + delay, packet.dts + delay, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_frames_that_lean_on_a_part_cut_off_do_not_count(tmp_path, suffix):
    whole = ramp_videos.write(tmp_path / "whole.mkv", options=FILES["open_groups.mp4"]["options"])
    with av.open(whole) as container:
        first = next(n for n, packet in enumerate(container.demux(video=0)) if n and packet.is_keyframe)
    cut = copy_packets(whole, tmp_path / f"cut{suffix}", lambda number, packet: [packet] * (number >= first))
    shown = ramp_videos.numbers(decode_frames(cut, lambda num_frames: range(num_frames)))
    assert shown == list(range(shown[0], 40)) and 1 < shown[0] < 20
    for number in range(len(shown)):
        assert ramp_videos.numbers(decode_frames(cut, [number])) == [shown[number]]


@pytest.mark.parametrize("choice", [[15], [30], [38], range(39)], ids=str)
def test_frames_of_vp8_that_are_stored_but_never_shown_do_not_count(tmp_path, choice):
    def hide_24(number, packet):
        data = bytearray(bytes(packet))
        if number == 24:
            data[0] &= 0b11101111  # The bit "show_frame" of RFC 6386, section 9.1.
        return [packet_like(packet, bytes(data))]

    whole = ramp_videos.write(tmp_path / "whole.webm", **FILES["vp8.webm"])
    hidden = copy_packets(whole, tmp_path / "hidden.webm", hide_24)
    shown = [number for number in range(40) if number != 24]
    assert ramp_videos.numbers(decode_frames(hidden, choice)) == [shown[number] for number in choice]


def test_pictures_that_repeat_the_last_one_do_not_count(tmp_path):
    """MPEG-4 encoders store a "not coded" picture for a dropped frame; the decoder returns none for it."""

    def add_not_coded(number, packet):
        not_coded = packet_like(packet, b"\0\0\1\xb6\x50\x47", delay=7)
        not_coded.is_keyframe = False
        return [packet, not_coded] if number == 15 else [packet]

    whole = ramp_videos.write(tmp_path / "whole.mkv", codec="mpeg4", options={"bf": "0", "b": "4000000"})
    padded = copy_packets(whole, tmp_path / "padded.mkv", add_not_coded)
    assert ramp_videos.numbers(decode_frames(padded, lambda n: range(n))) == list(range(40))
    assert ramp_videos.numbers(decode_frames(padded, lambda n: [n - 1, 3])) == [39, 3]


@pytest.mark.parametrize(
    "height, width, expected", [(64, 96, (32, 48)), (96, 64, (48, 32)), (64, 64, (32, 32))]
)
def test_the_short_side_is_scaled_and_the_aspect_kept(tmp_path, height, width, expected):
    path = ramp_videos.write(tmp_path / "v.mp4", height=height, width=width)
    frames = decode_frames(path, [5, 30], short_side=32)
    assert frames.shape == (2, *expected, 3)
    assert ramp_videos.numbers(frames) == [5, 30]
    assert ramp_videos.position_error(frames) < 0.05
    assert decode_frames(path, [5], short_side=96).shape == (1, 3 * expected[0], 3 * expected[1], 3)


@pytest.mark.parametrize("short_side", [31, 33, 47, 63, 64, 65, 100])
def test_the_short_side_is_exact_for_sides_that_do_not_divide(tmp_path, short_side):
    path = ramp_videos.write(tmp_path / "v.mp4", height=63, width=97, pixels="yuv444p", num_frames=2)
    assert decode_frames(path, [0], short_side).shape == (1, short_side, round(97 * short_side / 63), 3)


def groups(path):
    """Returns (position, size) in the file of all packets, one list for each key frame."""
    found = []
    with av.open(path) as container:
        for packet in container.demux(video=0):
            if packet.size:
                found += [[]] if packet.is_keyframe else []
                found[-1].append((packet.pos, packet.size))
    return found


def with_broken_groups(path, broken):
    data, found = bytearray(Path(path).read_bytes()), groups(path)
    assert len(found) == 4
    for group in broken:
        for position, size in found[group]:
            data[position : position + size] = b"\xff" * size
    return bytes(data)


@pytest.mark.parametrize(
    "choice, broken",
    [([33, 38], [0, 1, 2]), ([12, 15], [0, 2, 3]), ([1, 38], [1, 2]), ([5], [1, 2, 3]), ([25, 2], [1, 3])],
)
def test_groups_of_frames_that_hold_none_of_the_chosen_are_not_decoded(grouped_video, choice, broken):
    frames = decode_frames(with_broken_groups(grouped_video, broken), choice)
    assert ramp_videos.numbers(frames) == choice


@pytest.mark.parametrize("group", range(4))
def test_a_broken_group_is_a_bad_video_for_who_needs_it(grouped_video, group):
    with pytest.raises(BadVideo, match="damaged"):
        decode_frames(with_broken_groups(grouped_video, [group]), [10 * group + 4])


@pytest.mark.parametrize("frame", [0, 1, 12, 25, 37])
def test_a_frame_that_the_decoder_had_to_make_up_is_damage(grouped_video, frame):
    """FFmpeg conceals lost parts of H.264 without an error, with grey or with the last frame's pixels."""
    position, size = [packet for group in groups(grouped_video) for packet in group][frame]
    data = bytearray(Path(grouped_video).read_bytes())
    generator = np.random.default_rng(0)
    data[position + size // 2 : position + size] = generator.bytes(size - size // 2)
    with pytest.raises(BadVideo, match="damaged"):
        decode_frames(bytes(data), range(40))


@pytest.mark.parametrize("fraction", [0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("choice", [[0], range(40), lambda num_frames: [num_frames - 1]])
def test_a_download_that_broke_off_is_bad_whichever_frames_are_chosen(grouped_video, fraction, choice):
    data = Path(grouped_video).read_bytes()
    with pytest.raises(BadVideo, match="truncated"):
        decode_frames(data[: int(fraction * len(data))], choice)


def test_a_matroska_file_that_broke_off_has_the_frames_that_are_there(tmp_path):
    data = Path(ramp_videos.write(tmp_path / "v.mkv", options={"g": "10"})).read_bytes()
    frames = decode_frames(data[: len(data) * 2 // 3], lambda num_frames: range(num_frames))
    assert 5 < len(frames) < 40
    assert ramp_videos.numbers(frames) == list(range(len(frames)))


def two_sizes(directory):
    small = ramp_videos.write(directory / "a.h264", height=64, width=96)
    large = ramp_videos.write(directory / "b.h264", height=96, width=64)
    return Path(small).read_bytes() + Path(large).read_bytes()


WRECKS = {
    "missing": (None, "no such file"),
    "empty": (lambda directory: b"", "0 bytes"),
    "text": (lambda directory: b"This is a page that says 404.\n" * 300, "not a video"),
    "noise": (lambda directory: np.random.default_rng(0).bytes(20000), "not a video"),
    "index lost": (
        lambda directory: Path(ramp_videos.write(directory / "v.mp4")).read_bytes()[:-2000],
        "not a video",
    ),
    "sound only": (
        lambda directory: Path(ramp_videos.write_audio_only(directory / "v.mp4")).read_bytes(),
        "no video stream, only audio",
    ),
    "no frames, mp4": (
        lambda directory: Path(ramp_videos.write(directory / "v.mp4", num_frames=0)).read_bytes(),
        "no video stream, only an empty container",
    ),
    "no frames, avi": (
        lambda directory: Path(ramp_videos.write(directory / "v.avi", 0, codec="mpeg4")).read_bytes(),
        "not one frame",
    ),
    "two sizes": (two_sizes, "size of the picture changes"),
}


@pytest.mark.parametrize("name", WRECKS)
def test_a_wreck_is_a_bad_video_with_its_path_and_a_reason_in_words(tmp_path, name):
    make, reason = WRECKS[name]
    path = tmp_path / "wreck.mp4"
    if make:
        path.write_bytes(make(tmp_path))
    with pytest.raises(BadVideo, match=reason) as raised:
        decode_frames(str(path), lambda num_frames: [0, num_frames - 1])
    assert raised.value.path == str(path)
    assert str(raised.value) == f"{path}: {raised.value.reason}"
    if make:
        with pytest.raises(BadVideo, match=f"<bytes>: .*{reason}"):
            decode_frames(path.read_bytes(), lambda num_frames: [0, num_frames - 1])


def test_a_folder_is_a_bad_video(tmp_path):
    with pytest.raises(BadVideo, match="no such file"):
        decode_frames(tmp_path, [0])


@pytest.mark.parametrize("choice", [[40], [0, 99], [-1], [], [[0, 1]]], ids=str)
@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_frame_numbers_outside_the_video_are_refused(tmp_path, name, choice):
    path = ramp_videos.write(tmp_path / name, codec="mpeg4")
    for given in (choice, lambda num_frames: choice):
        with pytest.raises(ValueError, match=r"\[0, 40\).*Received .*Try"):
            decode_frames(path, given)


def test_titles_that_are_not_utf8_do_no_harm(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", metadata={"title": "a CAFE in Paris"})
    data = Path(path).read_bytes().replace(b"CAFE", b"CAF\xc9")
    assert ramp_videos.numbers(decode_frames(data, [3])) == [3]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to count open files")
def test_no_file_stays_open_however_decoding_ends(tmp_path, grouped_video):
    for name, (make, _) in WRECKS.items():
        if make:
            (tmp_path / name).write_bytes(make(tmp_path))
    (tmp_path / "broken group").write_bytes(with_broken_groups(grouped_video, [1]))
    (tmp_path / "good").write_bytes(Path(grouped_video).read_bytes())
    before = len(os.listdir("/proc/self/fd"))
    kept = []  # Tracebacks keep frames alive, and with them whatever is closed only by chance.
    for path in sorted(tmp_path.iterdir()) * 3:
        try:
            decode_frames(path, [15, 1000] if path.name == "good" else [15])
        except (BadVideo, ValueError) as error:
            kept.append(error)
    assert len(kept) >= 3 * len(WRECKS)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not REAL_VIDEOS.is_dir(), reason="there is no folder ../shared/videos of real clips")
@pytest.mark.parametrize(
    "name, num_frames",
    [("arm_wrestling.mp4", 280), ("bikes.mp4", 250), ("carphone_low_bitrate.mp4", 120)]
    + [("mpeg4.avi", 164), ("short.mp4", 32)],
)
def test_real_clips_decode_as_a_plain_player_shows_them(name, num_frames):
    path = str(REAL_VIDEOS / name)
    with av.open(path) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(plain) == num_frames
    np.testing.assert_array_equal(decode_frames(path, lambda n: range(n)), plain)
    generator = np.random.default_rng(0)
    for _ in range(3):
        choice = generator.integers(num_frames, size=5)
        np.testing.assert_array_equal(decode_frames(path, choice), [plain[number] for number in choice])


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
    ids=["clockwise", "upside_down", "anticlockwise"],
)
@pytest.mark.parametrize("short_side", [None, 32])
def test_a_telephone_held_upright_gives_upright_pictures(tmp_path, matrix, turns, short_side):
    path = Path(ramp_videos.write(tmp_path / "video.mp4", 4))
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # The display matrix of the track's header, 16.16 fixed point.
    a, b, c, d = (value * 65536 for value in matrix)
    content[start : start + 20] = struct.pack(">5i", a, b, 0, c, d)
    turned = decode_frames(bytes(content), [1, 3], short_side)
    upright = decode_frames(path, [1, 3], short_side)
    np.testing.assert_array_equal(turned, np.rot90(upright, turns, axes=(1, 2)))
