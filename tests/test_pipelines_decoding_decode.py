"""Decoding: the exact frames of every kind of file, and a reason in words for every kind of wreck."""

import errno
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import ramp_videos
from av.bitstream import BitStreamFilterContext
from resizing import to_short_side

from pipelines.bad_video import BadVideo
from pipelines.clips import candidates
from pipelines.decoding import containers
from pipelines.decoding.decode import Facts, Limits, decode_frames, inspect
from pipelines.decoding.display import display_of_image

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
CASES = Path(__file__).parent / "cases"  # Files that were once read wrong.
REAL_VIDEOS = Path(__file__).parent.parent.parent / "shared" / "videos"


def frames_of(*arguments, **options):
    return decode_frames(*arguments, **options).frames


@pytest.fixture(scope="module", params=FILES)
def ramp_video(request, tmp_path_factory):
    return ramp_videos.write(tmp_path_factory.mktemp("ramp") / request.param, **FILES[request.param])


@pytest.fixture(scope="module", params=["closed", "open"])
def grouped_video(request, tmp_path_factory):
    """40 frames, a key frame each 10, the index in front: written once, to be damaged in many ways.

    Frames stored after a key frame of an "open" group but shown before it depend on the group before.
    """
    path = tmp_path_factory.mktemp("ramp") / "grouped.mp4"
    open_group = "1" if request.param == "open" else "0"
    parameters = f"keyint=10:min-keyint=10:scenecut=0:bframes=2:b-adapt=0:open-gop={open_group}"
    options = {"x264-params": parameters, "crf": "8"}
    return ramp_videos.write(path, options=options, container_options={"movflags": "faststart"})


def test_all_frames_come_in_order_of_display_with_every_pixel_in_its_place(ramp_video):
    frames = frames_of(ramp_video, lambda seconds: range(len(seconds)))
    assert frames.dtype == np.uint8
    assert ramp_videos.numbers(frames) == list(range(40))
    assert ramp_videos.position_error(frames) < 0.05


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_any_choice_of_frames_is_exact(ramp_video, choice):
    assert ramp_videos.numbers(frames_of(ramp_video, choice)) == choice


def test_random_choices_are_exact_and_the_same_from_path_bytes_and_function(ramp_video):
    generator = np.random.default_rng(0)
    for _ in range(5):
        choice = generator.integers(40, size=generator.integers(1, 9))
        frames = frames_of(ramp_video, choice)
        assert ramp_videos.numbers(frames) == choice.tolist()
        np.testing.assert_array_equal(frames, frames_of(Path(ramp_video).read_bytes(), choice))
        np.testing.assert_array_equal(
            frames, frames_of(Path(ramp_video), lambda seconds, c=choice: c % len(seconds))
        )


def test_frames_before_the_start_of_the_edit_list_do_not_count(tmp_path):
    options = {"g": "40", "bf": "2"}
    path = ramp_videos.write(tmp_path / "cut.mp4", times=list(range(-15, 25)), options=options)
    counts = []
    frames = frames_of(path, lambda seconds: counts.append(len(seconds)) or [0, 12, 24])
    assert counts == [25]
    assert ramp_videos.numbers(frames) == [15, 27, 39]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_frames_that_lean_on_a_part_cut_off_do_not_count(tmp_path, suffix):
    whole = ramp_videos.write(tmp_path / "whole.mkv", options=FILES["open_groups.mp4"]["options"])
    with av.open(whole) as container:
        first = next(n for n, packet in enumerate(container.demux(video=0)) if n and packet.is_keyframe)
    cut = ramp_videos.copy_packets(
        whole, tmp_path / f"cut{suffix}", lambda number, packet: [packet] * (number >= first)
    )
    shown = ramp_videos.numbers(frames_of(cut, lambda seconds: range(len(seconds))))
    assert shown == list(range(shown[0], 40)) and 1 < shown[0] < 20
    for number in range(len(shown)):
        assert ramp_videos.numbers(frames_of(cut, [number])) == [shown[number]]


@pytest.mark.parametrize("choice", [[15], [30], [38], range(39)], ids=str)
def test_frames_of_vp8_that_are_stored_but_never_shown_do_not_count(tmp_path, choice):
    def hide_24(number, packet):
        data = bytearray(bytes(packet))
        if number == 24:
            data[0] &= 0b11101111  # The bit "show_frame" of RFC 6386, section 9.1.
        return [ramp_videos.packet_like(packet, bytes(data))]

    whole = ramp_videos.write(tmp_path / "whole.webm", **FILES["vp8.webm"])
    hidden = ramp_videos.copy_packets(whole, tmp_path / "hidden.webm", hide_24)
    shown = [number for number in range(40) if number != 24]
    assert ramp_videos.numbers(frames_of(hidden, choice)) == [shown[number] for number in choice]


def test_pictures_that_repeat_the_last_one_do_not_count(tmp_path):
    padded = ramp_videos.write_with_repeated_picture(tmp_path)
    assert ramp_videos.numbers(frames_of(padded, lambda seconds: range(len(seconds)))) == list(range(40))
    assert ramp_videos.numbers(frames_of(padded, lambda seconds: [len(seconds) - 1, 3])) == [39, 3]
    assert ramp_videos.numbers(frames_of(padded, [17])) == [17]


@pytest.mark.parametrize(
    "height, width, expected", [(64, 96, (32, 48)), (96, 64, (48, 32)), (64, 64, (32, 32))]
)
def test_the_short_side_is_scaled_and_the_aspect_kept(tmp_path, height, width, expected):
    path = ramp_videos.write(tmp_path / "v.mp4", height=height, width=width)
    frames = frames_of(path, [5, 30], to_short_side(32))
    assert frames.shape == (2, *expected, 3)
    assert ramp_videos.numbers(frames) == [5, 30]
    assert ramp_videos.position_error(frames) < 0.05
    assert frames_of(path, [5], to_short_side(96)).shape == (1, 3 * expected[0], 3 * expected[1], 3)


@pytest.mark.parametrize("short_side", [31, 33, 47, 63, 64, 65, 100])
def test_the_short_side_is_exact_for_sides_that_do_not_divide(tmp_path, short_side):
    path = ramp_videos.write(tmp_path / "v.mp4", height=63, width=97, pixels="yuv444p", num_frames=2)
    assert frames_of(path, [0], to_short_side(short_side)).shape == (
        1,
        short_side,
        round(97 * short_side / 63),
        3,
    )


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
    frames = frames_of(with_broken_groups(grouped_video, broken), choice)
    assert ramp_videos.numbers(frames) == choice


@pytest.mark.parametrize("group", range(4))
def test_a_broken_group_is_a_bad_video_for_who_needs_it(grouped_video, group):
    with pytest.raises(BadVideo, match="damaged"):
        frames_of(with_broken_groups(grouped_video, [group]), [10 * group + 4])


@pytest.mark.parametrize("frame", [0, 1, 12, 25, 37])
def test_a_frame_that_the_decoder_had_to_make_up_is_damage(grouped_video, frame):
    """FFmpeg conceals lost parts of H.264 without an error, with grey or with the last frame's pixels."""
    position, size = [packet for group in groups(grouped_video) for packet in group][frame]
    data = bytearray(Path(grouped_video).read_bytes())
    generator = np.random.default_rng(0)
    data[position + size // 2 : position + size] = generator.bytes(size - size // 2)
    with pytest.raises(BadVideo, match="damaged"):
        frames_of(bytes(data), range(40))


@pytest.mark.parametrize("fraction", [0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("choice", [[0], range(40), lambda seconds: [len(seconds) - 1]])
def test_a_download_that_broke_off_is_bad_whichever_frames_are_chosen(grouped_video, fraction, choice):
    data = Path(grouped_video).read_bytes()
    with pytest.raises(BadVideo, match="truncated"):
        frames_of(data[: int(fraction * len(data))], choice)


def test_a_matroska_file_that_broke_off_has_the_frames_that_are_there(tmp_path):
    data = Path(ramp_videos.write(tmp_path / "v.mkv", options={"g": "10"})).read_bytes()
    frames = frames_of(data[: len(data) * 2 // 3], lambda seconds: range(len(seconds)))
    assert 5 < len(frames) < 40
    assert ramp_videos.numbers(frames) == list(range(len(frames)))


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
}


@pytest.mark.parametrize("name", WRECKS)
def test_a_wreck_is_a_bad_video_with_its_path_and_a_reason_in_words(tmp_path, name):
    make, reason = WRECKS[name]
    path = tmp_path / "wreck.mp4"
    if make:
        path.write_bytes(make(tmp_path))
    with pytest.raises(BadVideo, match=reason) as raised:
        frames_of(str(path), lambda seconds: [0, len(seconds) - 1])
    assert raised.value.path == str(path)
    assert str(raised.value) == f"{path}: {raised.value.reason}"
    if make:
        with pytest.raises(BadVideo, match=f"<bytes>: .*{reason}"):
            frames_of(path.read_bytes(), lambda seconds: [0, len(seconds) - 1])


@pytest.mark.parametrize("choice", [[40], [0, 99], [-1], [], [[0, 1]], [1.5]], ids=str)
@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_frame_numbers_outside_the_video_are_refused(tmp_path, name, choice):
    path = ramp_videos.write(tmp_path / name, codec="mpeg4")
    for given in (choice, lambda seconds: choice):
        with pytest.raises(ValueError, match=r"\[0, 40\).*Received .*Try"):
            frames_of(path, given)


def test_titles_that_are_not_utf8_do_no_harm(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", metadata={"title": "a CAFE in Paris"})
    data = Path(path).read_bytes().replace(b"CAFE", b"CAF\xc9")
    assert ramp_videos.numbers(frames_of(data, [3])) == [3]


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
            frames_of(path, [15, 1000] if path.name == "good" else [15])
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
    np.testing.assert_array_equal(frames_of(path, lambda seconds: range(len(seconds))), plain)
    generator = np.random.default_rng(0)
    for _ in range(3):
        choice = generator.integers(num_frames, size=5)
        np.testing.assert_array_equal(frames_of(path, choice), [plain[number] for number in choice])


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
    ids=["clockwise", "upside_down", "anticlockwise"],
)
@pytest.mark.parametrize("short_side", [None, 32])
def test_a_telephone_held_upright_gives_upright_pictures(tmp_path, matrix, turns, short_side):
    path = ramp_videos.write(tmp_path / "video.mp4", 4)
    turned = frames_of(rotated(path, matrix), [1, 3], to_short_side(short_side))
    upright = frames_of(path, [1, 3], to_short_side(short_side))
    np.testing.assert_array_equal(turned, np.rot90(upright, turns, axes=(1, 2)))


@pytest.mark.parametrize("sides", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_turned_and_mirrored_videos_are_shown_as_the_matrix_says(tmp_path, sides, transposed):
    """A point (x, y) is shown at (a x + c y, b x + d y), counted from the middle of the picture."""
    a, b, c, d = (0, sides[0], sides[1], 0) if transposed else (sides[0], 0, 0, sides[1])
    path = ramp_videos.write(tmp_path / "video.mp4", 4)
    plain = frames_of(path, [2])[0]
    shown = frames_of(rotated(path, (a, b, c, d)), [2])[0]
    height, width = plain.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = 2 * x - width + 1, 2 * y - height + 1
    columns, rows = a * x + c * y + shown.shape[1] - 1, b * x + d * y + shown.shape[0] - 1
    np.testing.assert_array_equal(shown[rows // 2, columns // 2], plain)


def test_files_that_were_shown_the_wrong_way_round():
    mirrored = CASES / "displaymatrix_hflip.mp4"
    with av.open(str(mirrored)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(frames_of(mirrored, [0, 50, 99]), [plain[n][:, ::-1] for n in (0, 50, 99)])
    photograph = CASES / "exif_orientation2.jpg"
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(photograph)).convert("RGB")
    assert np.abs(frames_of(photograph, [0])[0].astype(int) - expected).mean() < 3


@pytest.mark.parametrize(("left", "top"), [(6, 2), (32, 0)])
def test_pictures_begin_where_they_are_cropped(tmp_path, left, top):
    plain, cropped = ramp_videos.write(tmp_path / "plain.ts", 4), tmp_path / "cropped.ts"
    with av.open(plain) as old, av.open(str(cropped), "w") as new:
        video = old.streams.video[0]
        crop = BitStreamFilterContext(f"h264_metadata=crop_left={left}:crop_top={top}", video)
        stream = new.add_stream_from_template(video)
        for packet in old.demux(video):
            for changed in crop.filter(packet if packet.size else None):
                changed.stream = stream
                new.mux(changed)
    np.testing.assert_array_equal(frames_of(cropped, [2]), frames_of(plain, [2])[:, top:, left:])


@pytest.mark.parametrize("roll", [0, 90, 180, -90])
@pytest.mark.parametrize("yaw", [0, 180, -180])
def test_matroska_files_are_turned_and_mirrored_as_their_pose_says(roll, yaw):
    """A yaw of half a turn shows the picture from behind. The video is the second track, after a sound."""
    file = (CASES / "upside_down_mirrored.mkv").read_bytes()
    for element, angle in ((b"\x76\x73\x88", yaw), (b"\x76\x75\x88", roll)):
        place = file.index(element) + 3
        file = file[:place] + struct.pack(">d", angle) + file[place + 8 :]
    plain = ramp_videos.frame(2).astype(int)
    expected = np.rot90(plain, -roll // 90)[:, ::-1] if yaw else np.rot90(plain, roll // 90)
    assert np.abs(frames_of(file, [2])[0] - expected).mean() < 8


def test_a_cover_is_no_video(tmp_path):
    assert inspect(CASES / "c12_cover_first.mp4") == Facts(100, 25.0, 128, 96, "h264")
    assert frames_of(CASES / "c12_cover_first.mp4", [0, 99]).shape == (2, 96, 128, 3)
    song = ramp_videos.write_audio_only(tmp_path / "song.mp4", cover=ramp_videos.image(0))
    for read in (inspect, lambda path: decode_frames(path, [0])):
        with pytest.raises(BadVideo, match="no video stream, only audio, attached pictures"):
            read(song)


def test_what_ffmpeg_mends_and_reports_is_damage(tmp_path):
    for name, words in (
        ("truncated_39_of_75.webm", "ended prematurely"),
        ("damaged_1_byte_27_of_50.webm", "EBML"),
    ):
        with pytest.raises(BadVideo, match=f"damaged or truncated: matroska,webm: .*{words}"):
            inspect(CASES / name)
    whole = Path(ramp_videos.write(tmp_path / "v.mkv", 40, options={"g": "10"})).read_bytes()
    for fraction in (0.5, 0.7, 0.9, 0.99):
        with pytest.raises(BadVideo, match="damaged or truncated"):
            inspect(whole[: int(fraction * len(whole))])
    assert inspect(whole).frames == 40


def test_threads_hear_of_their_own_files_alone(tmp_path):
    whole = Path(ramp_videos.write(tmp_path / "v.mkv", 40, options={"g": "10"})).read_bytes()
    cut = whole[: len(whole) // 2]

    def is_bad(data):
        try:
            inspect(data)
        except BadVideo:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(is_bad, [whole, cut] * 20)) == [False, True] * 20


def test_rounded_times_lose_no_frame_at_the_files_own_rate():
    clip = decode_frames(CASES / "fps24_ms.mkv", lambda seconds: np.arange(len(seconds)), np.shape)
    assert len(clip.seconds) == len(candidates(clip.seconds, fps=24)) == 240


@pytest.mark.parametrize(
    "name", ["mpeg4.avi", "vp8.webm", "matroska.mkv", "key_frame_each_10.mp4", "transport.ts"]
)
def test_the_frames_of_an_even_rate_are_shown_at_even_times(tmp_path, name):
    path, times = ramp_videos.write(tmp_path / name, **FILES[name]), []
    frames_of(path, lambda seconds: times.append(seconds) or [0])
    assert times[-1].dtype == np.float64
    np.testing.assert_allclose(times[-1], np.arange(40) / 25, atol=0.0006)  # WebM counts milliseconds.


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
def test_uneven_times_are_those_of_the_file(tmp_path, suffix):
    times = [7 + n * (n + 1) for n in range(12)]
    how = {"codec": "gif", "pixels": "rgb8"} if suffix == ".gif" else {"options": {"bf": "2"}}
    path, given = ramp_videos.write(tmp_path / f"v{suffix}", 12, times=times, **how), []
    frames = frames_of(path, lambda seconds: given.append(seconds) or [3, 11])
    np.testing.assert_allclose(given[0], (np.array(times) - 7) / 25, atol=0.0006)
    assert ramp_videos.numbers(frames) == [3, 11]


def test_the_frames_of_a_gif_are_put_together_from_their_parts(tmp_path):
    pictures = np.random.default_rng(0).integers(256, size=(1, 64, 96), dtype=np.uint8).repeat(12, axis=0)
    for number, picture in enumerate(pictures):
        picture[5 * number : 5 * number + 8, 20:30] = 20 * number
    with av.open(str(tmp_path / "v.gif"), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb8"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb8")))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "v.gif")) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert max(sizes[1:]) < sizes[0] / 5  # Only what changes is stored.
    colours = np.stack([(pictures >> 5) * 36, (pictures >> 2 & 7) * 36, (pictures & 3) * 85], axis=-1)
    np.testing.assert_array_equal(frames_of(tmp_path / "v.gif", [0, 11, 5]), colours[[0, 11, 5]])


@pytest.mark.parametrize(
    "codec, pixels",
    [("libx264", "yuv420p10le"), ("libx264", "yuvj420p"), ("libx264", "gray"), ("libx264", "yuv422p")]
    + [("libvpx-vp9", "yuva420p"), ("ffv1", "bgra"), ("ffv1", "yuv444p16le"), ("ffv1", "gray16le")]
    + [("libx264rgb", "rgb24"), ("png", "rgba64be"), ("png", "gray"), ("png", "monob")],
)
def test_every_way_to_store_colours_gives_rgb(tmp_path, codec, pixels):
    suffix = ".mov" if codec == "png" else ".mkv"
    path = ramp_videos.write(tmp_path / f"v{suffix}", 9, codec=codec, pixels=pixels)
    for short_side in (None, 32):
        frames = frames_of(path, [8, 5], to_short_side(short_side))
        assert frames.shape[-1] == 3 and frames.dtype == np.uint8
        if pixels != "monob":
            assert ramp_videos.numbers(frames) == [8, 5]
        if "gray" not in pixels and "mono" not in pixels:
            assert ramp_videos.position_error(frames) < 0.06


@pytest.mark.parametrize("codec, pixels", [("mjpeg", "yuvj444p"), ("mjpeg", "yuvj420p"), ("png", "rgb24")])
def test_an_image_is_a_video_of_one_frame(tmp_path, codec, pixels):
    data = ramp_videos.image(200, codec=codec, pixels=pixels)
    (tmp_path / "%03d.jpg").write_bytes(data)  # A name in which FFmpeg would see a pattern.
    for source in (data, tmp_path / "%03d.jpg"):
        times = []
        frames = frames_of(source, lambda seconds, times=times: times.append(list(seconds)) or [0, 0])
        assert times == [[0.0]]
        assert ramp_videos.numbers(frames) == [200, 200]
        assert ramp_videos.position_error(frames) < 0.05
        assert inspect(source) == Facts(1, 0.0, 96, 64, codec)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("byte_order", "<>")
def test_a_photograph_is_shown_as_its_orientation_says(orientation, byte_order):
    data = ramp_videos.image(9, orientation=orientation, byte_order=byte_order)
    upright = PIL.Image.fromarray(frames_of(ramp_videos.image(9), [0])[0])
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # Pillow's transpositions.
    expected = upright if turn is None else upright.transpose(turn)
    np.testing.assert_array_equal(frames_of(data, [0])[0], np.asarray(expected))
    facts = inspect(data)
    assert (facts.width, facts.height) == expected.size


def test_damaged_orientations_leave_the_picture_as_it_is():
    data = ramp_videos.image(9, orientation=6)
    place = data.index(b"Exif") + 6
    for change in (b"XX", b"II*\0\xff\xff\xff\xff"):
        changed = data[:place] + change + data[place + len(change) :]
        np.testing.assert_array_equal(frames_of(changed, [0]), frames_of(ramp_videos.image(9), [0]))
    for end in range(place - 12, place + 26):
        display_of_image(data[:end])


@pytest.mark.parametrize("codec, pixels", [("mjpeg", "yuvj444p"), ("png", "rgb24")])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9, 0.98])
def test_an_image_that_broke_off_is_bad(codec, pixels, fraction):
    data = ramp_videos.image(1, codec=codec, pixels=pixels)
    with pytest.raises(BadVideo, match="<bytes>: damaged, truncated"):
        frames_of(data[: int(fraction * len(data))], [0])


@pytest.mark.parametrize("name", ["{:05d}.jpg", "{}.JPG", "img_{}.jpeg", "2nd take {}.jpg"])
def test_a_folder_of_images_is_a_video_in_the_order_of_their_numbers(tmp_path, name):
    path, times = ramp_videos.write_folder(tmp_path / "v", 12, name), []
    Path(path, "notes.txt").write_text("no image")
    frames = frames_of(path, lambda seconds: times.append(seconds) or [11, 0, 9, 1], to_short_side(32))
    assert ramp_videos.numbers(frames) == [11, 0, 9, 1] and frames.shape[1:] == (32, 48, 3)
    np.testing.assert_allclose(times[0], np.arange(12) / 12)
    frames_of(path, lambda seconds: times.append(seconds) or [0], folder_fps=30)
    np.testing.assert_allclose(times[1], np.arange(12) / 30)
    assert inspect(path) == Facts(12, pytest.approx(12), 96, 64, "mjpeg")


def test_only_the_chosen_images_of_a_folder_are_read(tmp_path):
    path = ramp_videos.write_folder(tmp_path / "v", 5)
    Path(path, "00003.jpg").write_bytes(b"This is a page that says 404.")
    assert ramp_videos.numbers(frames_of(path, [1, 3])) == [1, 3]
    for read in (inspect, lambda path: frames_of(path, [0, 2])):
        with pytest.raises(BadVideo, match=r"00003\.jpg: neither a JPEG nor a PNG"):
            read(path)


def test_folders_that_are_no_video_are_bad(tmp_path):
    with pytest.raises(BadVideo, match="holds no JPEG or PNG"):
        frames_of(tmp_path, [0])
    path = ramp_videos.write_folder(tmp_path / "v", 3)
    Path(path, "00001.jpg").write_bytes(ramp_videos.image(1)[:100])
    with pytest.raises(BadVideo, match=r"00001\.jpg: damaged or truncated: its header has no size"):
        frames_of(path, [1])


def rotated(path, matrix=(0, 1, -1, 0)):
    content = bytearray(Path(path).read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # The display matrix of the track's header, 16.16 fixed point.
    a, b, c, d = (value * 65536 for value in matrix)
    content[start : start + 20] = struct.pack(">5i", a, b, 0, c, d)
    return bytes(content)


def test_inspecting_tells_what_the_frames_are(ramp_video):
    facts = inspect(ramp_video)
    seconds = []
    frames = frames_of(ramp_video, lambda times: seconds.append(times) or [0])
    assert facts[:1] + facts[2:4] == (40, *frames.shape[2:0:-1])
    assert facts.fps == pytest.approx(39 / seconds[-1][-1])
    assert facts.codec in ("h264", "mpeg4", "vp8")


def test_inspecting_gives_the_upright_size(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", 4)
    assert inspect(path) == Facts(4, 25.0, 96, 64, "h264")
    assert inspect(rotated(path)) == Facts(4, 25.0, 64, 96, "h264")


@pytest.mark.parametrize("group", range(4))
def test_inspecting_finds_damage_wherever_it_is(grouped_video, group):
    with pytest.raises(BadVideo, match="damaged"):
        inspect(with_broken_groups(grouped_video, [group]))


BREACHES = [
    (Limits(pixels=96 * 64 - 1), r"(6,144 pixels are )?above the limit of 6,?143"),
    (Limits(frames=39), "40 frames are above the limit of 39"),
    (Limits(seconds=1.5), r"1\.56 seconds are above the limit of 1\.5"),
]


@pytest.mark.parametrize("limits, reason", BREACHES)
@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "folder"])
def test_what_is_above_a_limit_is_bad(tmp_path, name, limits, reason):
    if name == "folder":
        path, options = ramp_videos.write_folder(tmp_path / name, 40), {"folder_fps": 25}
    else:
        path, options = ramp_videos.write(tmp_path / name, codec="mpeg4"), {}
    at_the_limit = Limits(pixels=96 * 64, frames=40, seconds=1.56)
    assert len(frames_of(path, [0, 39], limits=at_the_limit, **options)) == 2
    for read in (inspect, lambda *args, **options: frames_of(args[0], [0], **options)):
        with pytest.raises(BadVideo, match=reason):
            read(path, limits=limits, **options)


def test_a_scaled_frame_may_not_be_above_the_limit_either(tmp_path):
    path = ramp_videos.write(tmp_path / "v.mp4", height=16, width=9600)
    with pytest.raises(BadVideo, match=r"39,321,600 pixels of a scaled frame are above the limit"):
        decode_frames(path, [0], to_short_side(256))


def test_a_mistake_of_ours_is_no_damaged_video(tmp_path, monkeypatch):
    path = ramp_videos.write(tmp_path / "v.mp4")

    def mistaken(frame):
        return frame.no_such_attribute

    for error in (AttributeError, KeyError, ValueError):

        def raising(*arguments, error=error):
            raise error("ours")

        with pytest.raises(error):
            decode_frames(path, [0], raising)
        with pytest.raises(error):
            decode_frames(path, raising)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        decode_frames(path, [0], mistaken)
    monkeypatch.setattr(containers, "_groups", mistaken)
    with pytest.raises(TypeError):
        decode_frames(path, [0])


def test_too_many_open_files_are_no_damaged_video(tmp_path, monkeypatch):
    path = ramp_videos.write(tmp_path / "v.mp4")

    def fail_with(error):
        def fail(*arguments):
            raise error

        monkeypatch.setattr(containers, "_index", fail)

    fail_with(OSError(errno.EMFILE, "Too many open files"))
    with pytest.raises(OSError, match="Too many open files"):
        decode_frames(path, [0])
    fail_with(PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(BadVideo, match="cannot be read: Permission denied"):
        decode_frames(path, [0])


def test_frames_are_transformed_one_by_one_and_keep_their_places(ramp_video):
    seen = []

    def name(frame):
        seen.append(ramp_videos.numbers(frame[None])[0])
        return f"frame {seen[-1]}"

    times = []
    clip = decode_frames(ramp_video, lambda seconds: times.append(seconds) or [30, 2, 30, 7], name)
    assert clip.frames == ["frame 30", "frame 2", "frame 30", "frame 7"]
    assert seen == [2, 7, 30]
    np.testing.assert_array_equal(clip.seconds, times[-1][[30, 2, 30, 7]])


def forged(kind, side=65535):
    if kind == "gif":
        return (
            struct.pack("<6sHHBBB6s", b"GIF89a", side, side, 0x80, 0, 0, b"\0\0\0\xff\xff\xff")
            + struct.pack("<cHHHHB", b",", 0, 0, side, side, 0)
            + b"\x02\x02\x4c\x01\x00;"
        )
    codec, begin, size = {"jpeg": ("mjpeg", b"\xff\xc0", 5), "png": ("png", b"IHDR", 4)}[kind]
    data = bytearray(ramp_videos.image(0, codec=codec, pixels="yuvj444p" if kind == "jpeg" else "rgb24"))
    place = data.index(begin) + size
    form = ">HH" if kind == "jpeg" else ">II"
    data[place : place + struct.calcsize(form)] = struct.pack(form, side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["gif", "jpeg", "png"])
@pytest.mark.parametrize("side", [16000, 65535])
def test_a_header_that_promises_a_giant_takes_no_memory(kind, side):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadVideo):
        frames_of(forged(kind, side), [0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100e3  # In kB, on Linux.


def test_a_playlist_does_not_lead_to_another_file(tmp_path):
    ramp_videos.write(tmp_path / "secret.ts", 4)
    playlists = {
        "a.mp4": "ffconcat version 1.0\nfile secret.ts\n",
        "b.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    }
    for name, text in playlists.items():
        (tmp_path / name).write_text(text)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video  # FFmpeg would follow.
        with pytest.raises(BadVideo, match="not a video"):
            frames_of(tmp_path / name, [0])


def test_a_colon_in_a_path_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ramp_videos.write("v.mp4", 4)
    os.rename("v.mp4", "http:v.mp4")
    assert ramp_videos.numbers(frames_of("http:v.mp4", [2])) == [2]


@pytest.mark.parametrize(
    "parameters",
    [
        "bframes=3:b-pyramid=none",
        "bframes=5:b-pyramid=strict:direct=temporal:b-adapt=0",
        "interlaced=1:bframes=3",
    ]
    + ["bframes=4:weightp=2:open-gop=1:keyint=12:scenecut=0", "bframes=3:slices=4:keyint=250", "bframes=0"],
)
def test_leaving_out_frames_that_no_other_leans_on_changes_no_pixel(tmp_path, parameters):
    path = ramp_videos.write(tmp_path / "v.mp4", 60, options={"x264-params": parameters, "crf": "30"})
    with av.open(path) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    generator = np.random.default_rng(0)
    for choice in [*([number] for number in range(60)), *generator.integers(60, size=(20, 5))]:
        np.testing.assert_array_equal(frames_of(path, choice), [plain[number] for number in choice])


def test_frames_on_which_no_other_depends_are_left_out(tmp_path):
    """Their damage is not noticed, and that of the others is."""
    options = {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none:keyint=100:scenecut=0", "crf": "12"}
    path = ramp_videos.write(tmp_path / "v.mp4", 31, options=options)
    noticed = []
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        times = sorted(packet.pts for packet in packets)
        places = {times.index(packet.pts): (packet.pos, packet.size) for packet in packets}
    for number in range(1, 30):
        data, (start, size) = bytearray(Path(path).read_bytes()), places[number]
        data[start + 5 : start + size] = b"\xff" * (size - 5)  # Behind the length and the type of the unit.
        try:
            assert ramp_videos.numbers(frames_of(bytes(data), [30])) == [30]
        except BadVideo:
            noticed.append(number)
    assert noticed == list(range(3, 30, 3))


SLICE, REFERENCE, PARAMETERS, INFORMATION = b"\x01", b"\x41", b"\x67", b"\x06"


@pytest.mark.parametrize("prefix", [1, 2, 4])
@pytest.mark.parametrize(
    "units, expected",
    [([SLICE], True), ([INFORMATION, SLICE, SLICE], True), ([REFERENCE], False), ([SLICE, REFERENCE], False)]
    + [([PARAMETERS, SLICE], False), ([SLICE, PARAMETERS], False), ([INFORMATION], False), ([], False)],
)
def test_a_packet_of_h264_can_be_left_out_if_all_its_units_say_so(prefix, units, expected):
    units = [unit + b"\xff" * 9 for unit in units]
    data = b"".join(len(unit).to_bytes(prefix, "big") + unit for unit in units)
    assert containers._is_disposable(av.Packet(data), prefix) is expected


@pytest.mark.parametrize("options", [{"folder_fps": 0}, {"folder_fps": -1}])
def test_rates_of_nothing_are_refused(options):
    with pytest.raises(ValueError, match=r"Expected .* Received .* Try"):
        frames_of("v.mp4", [0], **options)
    with pytest.raises(ValueError, match=r"Expected .* Received .* Try"):
        inspect("v.mp4", **options)
