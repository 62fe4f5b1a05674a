"""What a file promises of its parts is held against them, and sound files of many kinds keep all promises."""

import re
import struct
from pathlib import Path

import av
import pytest
import ramp_videos

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import decode_frames, inspect
from pipelines.decoding.promises import broken_promises

GROUPS = {"g": "10", "sc_threshold": "0"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
VP8 = {"codec": "libvpx", "options": {"g": "10", "deadline": "realtime"}}
SHORT_CLUSTERS = {"cluster_time_limit": "400"}
FILES = {
    "plain.mp4": {"audio": True},
    "fragments.mp4": {"options": GROUPS, "container_options": FRAGMENTS},
    "fragments_with_sound.mp4": {"options": GROUPS, "container_options": FRAGMENTS, "audio": True},
    "index_of_segments.mp4": {"options": GROUPS, "container_options": {"movflags": "dash+global_sidx"}},
    "live.mkv": {"container_options": {"live": "1"}},
    "clusters.mkv": {"options": GROUPS, "container_options": SHORT_CLUSTERS, "audio": True},
    "clusters.webm": VP8 | {"container_options": SHORT_CLUSTERS},
    "pages.ogg": VP8,
    "with_b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "uneven.avi": {"codec": "mpeg4", "times": [*range(20), *range(30, 110, 4)]},
    "tags.flv": {"options": GROUPS},
    "packets.ts": {"options": GROUPS, "audio": True},
    "open_groups.ts": {"options": GROUPS | {"bf": "3", "x264-params": "open-gop=1"}},
    "disc.m2ts": {
        "options": GROUPS,
        "container_options": {"mpegts_m2ts_mode": "1"},
        "container_format": "mpegts",
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Returns a function from a name to the bytes of a file of 40 frames, or of so many as are asked for."""
    directory, made = tmp_path_factory.mktemp("files"), {}

    def read(name, num_frames=40):
        if (name, num_frames) not in made:
            path = ramp_videos.write(directory / name, num_frames, **FILES[name])
            made[name, num_frames] = Path(path).read_bytes()
        return made[name, num_frames]

    return read


def places(data, mark, before=0):
    return [match.start() - before for match in re.finditer(re.escape(mark), data)]


def without(data, mark, part, before=0):
    """Returns a file without the part from one mark to the next."""
    begins = [*places(data, mark, before), len(data)]
    return data[: begins[part]] + data[begins[part + 1] :]


def changed(data, place, value):
    return data[:place] + value + data[place + len(value) :]


def reason(data):
    with pytest.raises(BadVideo) as bad:
        inspect(data)
    return bad.value.reason


@pytest.mark.parametrize("name", FILES)
def test_sound_files_keep_their_promises(files, name):
    assert list(broken_promises(files(name))) == []
    assert inspect(files(name)).frames == 40


@pytest.mark.parametrize("name", ["plain.mp4", "fragments.mp4", "clusters.mkv", "with_b_frames.avi"])
@pytest.mark.parametrize("tail", [bytes(3000), b"some other program's data, " * 9])
def test_what_follows_the_last_part_breaks_no_promise(files, name, tail):
    assert list(broken_promises(files(name) + tail)) == []


def test_fragments_of_mp4_are_numbered_and_hold_all_samples(files):
    whole = files("fragments.mp4")
    assert len(places(whole, b"moof")) == 4
    assert "its fragment 2 is missing" in reason(without(whole, b"moof", 1, before=4))
    assert "its fragment 3 is missing" in reason(without(whole, b"moof", 2, before=4))
    for mark in (b"traf", b"trun"):
        damaged = changed(whole, places(whole, mark)[1], b"free")
        assert list(broken_promises(damaged)) == [
            "after its fragment 2 there are samples that no fragment has"
        ]


def test_an_index_of_segments_tells_of_the_last_one(files):
    whole = files("index_of_segments.mp4")
    cut = whole[: places(whole, b"moof", before=4)[-1]]
    assert list(broken_promises(cut)) == ["the file ends before its last segment"]


def test_a_part_of_mp4_that_goes_beyond_the_file_is_cut_off(files):
    whole = files("fragments.mp4")
    assert list(broken_promises(whole[: places(whole, b"mdat")[-1] + 10])) == [
        "the file ends before its part mdat does"
    ]


def test_clusters_of_matroska_have_checksums(files):
    whole = files("clusters.mkv")
    place = places(whole, b"\x1fC\xb6u")[3] + 200
    damaged = changed(whole, place, bytes([whole[place] ^ 1]))
    assert list(broken_promises(damaged)) == ["the checksum of a cluster is wrong"]
    assert "damaged or truncated" in reason(damaged)


@pytest.mark.parametrize("lost", [4, 6])
def test_clusters_of_matroska_reach_the_duration(files, lost):
    """The file's own size is unknown, as in a recording that something went through afterwards."""
    whole = files("clusters.webm", 100)
    place = places(whole, b"\x18\x53\x80\x67")[0] + 4
    assert whole[place] == 1  # The size takes the 7 bytes that follow.
    stream = changed(whole, place, b"\x01" + b"\xff" * 7)
    assert list(broken_promises(stream)) == []
    cut = stream[: places(stream, b"\x1fC\xb6u")[-lost]]
    (found,) = broken_promises(cut)
    assert re.fullmatch(r"it promises 4\.0 s and ends after [12]\.\d s", found)
    assert found in reason(cut)


def test_an_index_in_front_names_clusters_that_are_missing(tmp_path):
    options = SHORT_CLUSTERS | {"reserve_index_space": "4096"}
    path = ramp_videos.write(tmp_path / "v.mkv", 40, options=GROUPS, container_options=options)
    whole = Path(path).read_bytes()
    cut = whole[: places(whole, b"\x1fC\xb6u")[-2]]
    assert list(broken_promises(whole)) == []
    assert "its index names parts that are missing" in list(broken_promises(cut))


def test_pages_of_ogg_are_numbered_and_the_last_one_is_marked(files):
    whole = files("pages.ogg")
    begins = places(whole, b"OggS")
    assert "its page" in reason(without(whole, b"OggS", len(begins) // 2))
    for cut in (begins[-1], begins[-1] + 40):
        assert "the file ends before its streams do" in reason(whole[:cut])


def test_avi_files_have_the_chunks_of_their_index(files):
    whole = files("with_b_frames.avi")
    assert "the file ends before its index does" in reason(whole[: places(whole, b"idx1")[0]])
    chunk = places(whole, b"00dc")[20]
    assert "frames are missing" in reason(changed(whole, chunk, b"zzzz"))


def test_tags_of_flv_reach_the_duration(files):
    whole = files("tags.flv", 100)
    place, tags = 13, []
    while place < len(whole):
        tags.append(place)
        place += 15 + int.from_bytes(whole[place + 1 : place + 4])
    (found,) = broken_promises(whole[: tags[50]])
    assert re.fullmatch(r"it promises 4\.\d s and ends after 1\.\d s", found)
    assert list(broken_promises(whole[: tags[50] + 20])) == ["the file ends before its last tag does", found]


@pytest.mark.parametrize(("name", "packet"), [("packets.ts", 188), ("disc.m2ts", 192)])
def test_transport_streams_end_with_a_packet(files, name, packet):
    whole = files(name)
    assert list(broken_promises(whole[: packet * 50])) == []
    assert list(broken_promises(whole[: packet * 50 + 100])) == ["the file ends before its last packet's end"]


def test_packets_that_a_transport_stream_lost_are_noticed(files):
    whole = files("packets.ts")
    assert "damaged or truncated: " in reason(whole[: 188 * 60] + whole[188 * 62 :])


@pytest.mark.parametrize("name", ["packets.ts", "open_groups.ts"])
def test_a_recording_of_a_broadcast_begins_anywhere(files, name):
    """Frames that depend on ones before the first key frame are left out, and are no damage."""
    whole = files(name)
    cut = whole[188 * (len(whole) // 188 // 3) :]
    shown = decode_frames(cut, lambda seconds: range(len(seconds))).frames
    assert ramp_videos.numbers(shown) in (list(range(20, 40)), list(range(10, 40)))
    assert inspect(cut).frames == len(shown)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_part_of_a_video_with_open_groups_is_sound(tmp_path, suffix):
    """FFmpeg looks for frames that were cut off, and reports them as an error."""
    options = {"g": "10", "sc_threshold": "0", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal"}
    whole, keys = ramp_videos.write(tmp_path / "whole.mp4", 40, options=options), []

    def from_second_key(_, packet):
        keys.extend([packet.pts] * packet.is_keyframe)
        return [ramp_videos.packet_like(packet, bytes(packet))] if len(keys) > 1 else []

    part = ramp_videos.copy_packets(whole, tmp_path / f"part{suffix}", from_second_key)
    assert inspect(part).frames == 30


def test_what_is_wrong_beside_the_pictures_is_no_damage(tmp_path):
    photograph = ramp_videos.image(0)
    segment = b"Exif\0\0" + b"neither of the two byte orders"
    photograph = (
        photograph[:2] + struct.pack(">2sH", b"\xff\xe1", len(segment) + 2) + segment + photograph[2:]
    )
    assert inspect(photograph).frames == 1
    # Additional information of H.264 that is longer than its unit, which begins with its length.
    information = b"\0\0\0\6" + b"\x06\x01\xc8\1\2\3"
    path = ramp_videos.write(tmp_path / "whole.mp4", 8, options={"bf": "0"})

    def with_information(_, packet):
        return [ramp_videos.packet_like(packet, information + bytes(packet))]

    assert inspect(ramp_videos.copy_packets(path, tmp_path / "v.mkv", with_information)).frames == 8


def test_a_frame_that_the_decoder_leaves_out_is_missing(tmp_path):
    """A bit in a frame's header says that it is shown; no report tells of it."""
    path = ramp_videos.write(tmp_path / "v.webm", 40, codec="libvpx-vp9", options=VP8["options"])
    whole = Path(path).read_bytes()
    with av.open(path) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][5]
    place = whole.index(packet[:40])
    assert "frames are missing" in reason(changed(whole, place, bytes([whole[place] ^ 2])))


def test_no_forged_number_breaks_the_walk():
    for data in (
        b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x15\x49\xa9\x66\x84\x44\x89\x81\0",
        struct.pack(">I4sI4sQ", 8, b"ftyp", 1, b"free", 2**64 - 1),
        b"OggS" + b"\xff" * 23,
        b"RIFF" + bytes(4) * 100,
        b"FLV" + b"\xff" * 99,
    ):
        assert all(isinstance(found, str) for found in broken_promises(data))
