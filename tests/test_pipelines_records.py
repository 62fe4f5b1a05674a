"""Records: what comes out is what went in, and damage costs the records that it touches, not one more."""

import functools
import hashlib
import json
import os
import resource

import numpy as np
import pytest
import ramp_videos
import tensorflow as tf

from pipelines import clips
from pipelines.account import Account
from pipelines.augmenting.resizing import scale_short_side
from pipelines.bad_video import BadVideo
from pipelines.dataset import ClipFormat, evaluation_views
from pipelines.decoding.decode import Clip, decode_frames
from pipelines.manifest import Label, Manifest, Video
from pipelines.records import shards
from pipelines.records.shards import INDEX, Settings, Shard, read_index, write_index, write_shard
from pipelines.records.source import is_records, open_records
from pipelines.video_files import VideoFiles

FRAMES = [20, 23, 31, 9, 40]


def write(directory, groups, settings=Settings(), decode=decode_frames, **header):  # noqa: B008
    """Writes a directory of records, a shard for each group of videos."""
    found = [
        Shard(
            os.path.join(directory, f"x-{number:05d}-of-{len(groups):05d}.tfrecord"), tuple(group), settings
        )
        for number, group in enumerate(groups)
    ]
    for shard in found:
        write_shard(shard, decode)
    header = {"classes": ["a", "b", "c"], "directional": False, "mirrored": [], "unusable": []} | header
    write_index(str(directory), header | {"fingerprint": "", "settings": settings._asdict()}, found)
    return open_records(str(directory))


def pictures(path, choose, transform):
    """A decoder that needs no file: `path` tells the number of frames and their grey level."""
    count, level = map(int, path.split("_"))
    seconds = np.arange(count) / 10
    numbers = choose(seconds)
    return Clip(
        [transform(np.full((16, 24, 3), level + 2 * number, np.uint8)) for number in numbers], seconds
    )


def all_frames(num_frames, draws):
    return tf.range(num_frames)


def fetch(records, row, sample=all_frames, draws=()):
    row, draws = tf.constant(row, tf.int64), tf.constant(draws, tf.int64)
    ok, frames, seconds, reason = records.fetch(row, sample, draws)
    assert reason == (b"" if ok else b"its record is damaged")
    return bool(ok), frames.numpy(), seconds.numpy()


def flip_byte(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes([value ^ 0x10]))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [ramp_videos.write(folder / f"{number}.mp4", count) for number, count in enumerate(FRAMES)]


@pytest.fixture(scope="module")
def ramp_records(videos, tmp_path_factory):
    rows = [Video(path, (Label(number % 3),)) for number, path in enumerate(videos)]
    return write(tmp_path_factory.mktemp("records"), [rows[:2], rows[2:]])


@pytest.fixture
def levels(tmp_path):
    """Nine records in three shards; row r has 4 frames of grey levels 10 r, 10 r + 2, ..."""
    rows = [Video(f"4_{10 * row}", (Label(0),)) for row in range(9)]
    return write(tmp_path, [rows[:3], rows[3:6], rows[6:]], decode=pictures)


@functools.cache
def reader(records):
    signature = [tf.TensorSpec([], tf.int64)]
    return tf.function(lambda row: records.fetch(row, all_frames, tf.range(0)), signature)


def sound_rows(records):
    """Returns the rows that can be read, having looked at what they show."""
    sound = []
    read = reader(records)
    for row in range(len(records)):
        ok, frames, seconds, _ = (tensor.numpy() for tensor in read(row))
        if ok:
            sound.append(row)
            np.testing.assert_allclose(frames[:, 5, 5, 0], 10 * row + 2 * np.arange(4), atol=2)
            np.testing.assert_allclose(seconds, np.arange(4) / 10, rtol=1e-6)
        else:
            assert frames.shape[1:] == (1, 1, 3)
            assert not frames.any() and not seconds.any()
    return sound


def test_records_show_what_the_files_show(ramp_records, videos):
    for row, (path, count) in enumerate(zip(videos, FRAMES, strict=True)):
        ok, frames, seconds = fetch(ramp_records, row)
        assert ok and frames.dtype == np.uint8
        assert ramp_videos.numbers(frames) == list(range(count))
        assert np.abs(frames.astype(int) - decode_frames(path, range(count)).frames).mean() < 2
        np.testing.assert_allclose(seconds, np.arange(count) / 25, rtol=1e-6)


def test_only_the_chosen_frames_come_in_the_order_chosen(ramp_records):
    ok, frames, seconds = fetch(ramp_records, 4, lambda n, draws: tf.stack([draws, draws - n + 1]), [39])
    assert ok and ramp_videos.numbers(frames) == [39, 0]
    np.testing.assert_allclose(seconds, [39 / 25, 0], rtol=1e-6)


@pytest.mark.parametrize("sampling", clips.SAMPLING)
def test_the_sampling_of_clips_gets_along_with_records(ramp_records, sampling):
    (training, test), draws = clips.SAMPLING[sampling], [5, 3, 8, 1]
    _, frames, _ = fetch(ramp_records, 2, lambda n, draws: training(n, 4, draws), draws)
    assert ramp_videos.numbers(frames) == training(31, 4, np.array(draws)).tolist()
    _, frames, _ = fetch(ramp_records, 2, lambda n, _: test(n, 4, 3))
    assert ramp_videos.numbers(frames) == test(31, 4, 3).ravel().tolist()


def test_whole_frames_of_records_are_those_that_were_written(tmp_path):
    def shaped(path, choose, transform):
        count, level = map(int, path.split("_"))
        seconds, sides = np.arange(count) / 10, (24, 16) if path.endswith("1") else (16, 24)
        frames = [np.full((*sides, 3), level + 2 * number, np.uint8) for number in choose(seconds)]
        return Clip([transform(frame) for frame in frames], seconds)

    rows = [Video(f"4_{level}", (Label(0),)) for level in (50, 71, 90)]
    records = write(tmp_path, [rows], decode=shaped)
    clip_format, account = ClipFormat(2, 16, (0.0,) * 3, (1.0,) * 3), Account(records.manifest)
    data = evaluation_views(
        records, clip_format, sample=clips.segment_test_clips, clips=2, crops=1, batch_size=2,
        account=account, places="whole", short_side=32,
    )  # fmt: skip
    for (pixels, _, weights), level, sides in zip(
        data, (50, 71, 90), ((32, 48), (48, 32), (32, 48)), strict=True
    ):
        assert pixels.shape == (2, 2, *sides, 3) and weights.numpy().tolist() == [1, 1]
        np.testing.assert_allclose(
            pixels[:, :, 0, 0, 0], [[level + 2, level + 6], [level, level + 4]], atol=1.5
        )


def test_a_frame_outside_the_video_is_an_error_and_no_bad_record(ramp_records):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"= 20 is not in \[0, 20\)"):
        fetch(ramp_records, 0, lambda n, draws: tf.stack([n]))


def test_reading_needs_no_python_and_gives_the_same_in_a_graph(ramp_records):
    data = tf.data.Dataset.range(len(FRAMES)).map(
        lambda row: ramp_records.fetch(row, lambda n, draws: draws % n, tf.stack([row, 3 * row]))
    )
    for row, (ok, frames, seconds, _) in enumerate(data):
        numbers = [row % FRAMES[row], 3 * row % FRAMES[row]]
        assert ok and ramp_videos.numbers(frames.numpy()) == numbers
        np.testing.assert_allclose(seconds, np.array(numbers) / 25, rtol=1e-6)
    assert data.element_spec[1] == tf.TensorSpec([2, None, None, 3], tf.uint8)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=data._variant_tensor).numpy()
    assert b"DecodeJpeg" in graph and b"PyFunc" not in graph


def test_the_manifest_is_the_one_that_the_records_were_made_from(tmp_path):
    rows = (
        Video("4_0", (Label(2),), 0.1, None, "train"),
        Video("4_0", (), None, 0.2, "val"),
        Video("4_7", (Label(0), Label(1, 1.5, 2.5), Label(1, None, 3.0))),
        Video("4_9", (Label(1, 0.0),)),
    )
    made_from = Manifest(rows, ("a", "b", "c"), directional=True, mirrored=(1, 0, 2))
    records = write(tmp_path, [rows[:1], rows[1:]], decode=pictures, directional=True, mirrored=[1, 0, 2])
    assert records.manifest == made_from
    assert records.manifest.fingerprint() == made_from.fingerprint()
    assert len(records) == 4 and records.num_shards == 2
    assert records.header["settings"] == {"short_side": 256, "fps": 0.0, "quality": 90}


def test_videos_that_cannot_be_read_are_unusable_with_their_reasons(tmp_path, videos):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "records").mkdir()
    rows = [
        Video(str(tmp_path / "empty.mp4"), (Label(0),)),
        Video(videos[1], (Label(1),)),
        Video(videos[0], (Label(0),), start=5.0, end=6.0),
        Video(str(tmp_path / "gone.mp4"), (Label(2),)),
    ]
    records = write(tmp_path / "records", [rows[:1], rows[1:]], unusable=[["known.mp4", "bad before"]])
    assert records.manifest.videos == (rows[1],)
    assert [(os.path.basename(bad.path), bad.reason) for bad in records.manifest.unusable] == [
        ("known.mp4", "bad before"),
        ("empty.mp4", "the file is empty (0 bytes)"),
        ("0.mp4", "no frame between 5.0 and 6.0 s"),
        ("gone.mp4", "there is no such file"),
    ]
    assert ramp_videos.numbers(fetch(records, 0)[1]) == list(range(FRAMES[1]))


def test_a_part_of_a_file_at_a_rate_keeps_the_times_of_the_file(tmp_path, videos):
    row = Video(videos[4], (Label(0),), start=0.4, end=1.2)
    records = write(tmp_path, [[row]], Settings(fps=5))
    _, frames, seconds = fetch(records, 0)
    assert ramp_videos.numbers(frames) == [10, 15, 20, 25]
    np.testing.assert_allclose(seconds, [0.4, 0.6, 0.8, 1.0], rtol=1e-6)


def test_uneven_times_are_sampled_by_time_and_never_upsampled(tmp_path):
    times = [0, 1, 2, 3, 25, 26, 50, 75, 76, 77]  # Units of 1/25 s.
    path = ramp_videos.write(tmp_path / "uneven.mp4", 10, times=times)
    for fps, expected in ((1, [0, 4, 6, 7]), (2, [0, 3, 4, 5, 6, 7]), (1000, list(range(10)))):
        (tmp_path / str(fps)).mkdir()
        _, frames, seconds = fetch(write(tmp_path / str(fps), [[Video(path, ())]], Settings(fps=fps)), 0)
        assert ramp_videos.numbers(frames) == expected
        np.testing.assert_allclose(seconds, np.array(times)[expected] / 25, rtol=1e-5)


@pytest.mark.parametrize("short_side, expected", [(32, (32, 48)), (64, (64, 96)), (256, (64, 96))])
def test_the_short_side_is_scaled_down_and_never_up(tmp_path, videos, short_side, expected):
    _, frames, _ = fetch(write(tmp_path, [[Video(videos[3], ())]], Settings(short_side)), 0)
    assert frames.shape == (FRAMES[3], *expected, 3)
    assert ramp_videos.numbers(frames) == list(range(FRAMES[3]))


def test_a_record_whose_frames_would_become_too_large_is_bad_as_its_file_is(tmp_path):
    path = ramp_videos.write(tmp_path / "tall.mp4", 3, height=16, width=9600)
    (tmp_path / "records").mkdir()
    records = write(tmp_path / "records", [[Video(path, ())]])
    scale = functools.partial(scale_short_side, size=256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ok, frames, _, _ = records.fetch(tf.constant(0, tf.int64), all_frames, tf.range(0), scale)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000  # They would take 470 MB.
    assert not ok and frames.shape == (3, 1, 1, 3)
    ok, *_, reason = VideoFiles(Manifest((Video(path, ()),), ())).fetch(0, lambda n, _: [0], (), scale)
    assert not ok and b"above the limit" in reason
    assert records.fetch(tf.constant(0, tf.int64), all_frames, tf.range(0))[0]


def test_quality_buys_precision_with_bytes(tmp_path, videos):
    lengths, errors = [], []
    for quality in (30, 95):
        (tmp_path / str(quality)).mkdir()
        records = write(tmp_path / str(quality), [[Video(videos[3], ())]], Settings(quality=quality))
        lengths += read_index(tmp_path / str(quality))[1][0]["records"]["length"]
        errors.append(
            np.abs(fetch(records, 0)[1].astype(int) - decode_frames(videos[3], range(9)).frames).mean()
        )
    assert lengths[0] < lengths[1] and errors[0] > errors[1]


def test_a_long_video_is_opened_once_and_never_whole_in_memory(tmp_path, videos):
    calls = []

    def decode(source, choose, transform):
        clip = decode_frames(source, choose, lambda frame: calls.append(frame.shape) or transform(frame))
        assert [type(jpeg) for jpeg in clip.frames] == [bytes] * FRAMES[4]
        return clip

    shard = Shard(str(tmp_path / "a.tfrecord"), (Video(videos[4], ()),), Settings())
    write_shard(shard, decode)
    assert calls == [(64, 96, 3)] * FRAMES[4]


def test_what_no_record_can_hold_is_a_bad_video(tmp_path, monkeypatch):
    def wide(source, choose, transform):
        choose(np.zeros(1))
        return Clip([transform(np.zeros((1, 65536, 3), np.uint8))], np.zeros(1))

    line = write_shard(Shard(str(tmp_path / "wide"), (Video("wide.png", ()),), Settings()), wide)
    assert line["unusable"] == [("wide.png", "no JPEG has sides of (1, 65536)")]
    monkeypatch.setattr(shards, "_LARGEST_RECORD", 100)
    line = write_shard(Shard(str(tmp_path / "x"), (Video("4_0", ()),), Settings()), pictures)
    assert line["unusable"] == [("4_0", "too long for a record: more than 0 MiB of JPEGs")]


def test_frames_that_a_wrong_index_had_decoded_twice_count_once(tmp_path, monkeypatch):
    wrong_index = ramp_videos.write_with_repeated_picture(tmp_path)  # It is asked twice: 41 frames, then 40.
    shard = Shard(str(tmp_path / "a.tfrecord"), (Video(wrong_index, ()),), Settings())
    (length,) = write_shard(shard, decode_frames)["records"]["length"]
    monkeypatch.setattr(shards, "_LARGEST_RECORD", length + 100)
    line = write_shard(shard._replace(path=str(tmp_path / "b.tfrecord")), decode_frames)
    assert line["records"]["frames"] == [40]


def test_others_can_read_the_shards(ramp_records, videos):
    path = os.path.join(ramp_records._directory, "x-00001-of-00002.tfrecord")
    spec = {name: tf.io.RaggedFeature(tf.string) for name in ("frames", "path")}
    spec |= {name: tf.io.RaggedFeature(tf.float32) for name in ("seconds", "label_seconds")}
    spec |= {name: tf.io.RaggedFeature(tf.int64) for name in ("labels", "height", "width")}
    examples = [tf.io.parse_single_example(record, spec) for record in tf.data.TFRecordDataset(path)]
    for row, example in enumerate(examples, 2):
        assert example["path"].numpy().tolist() == [videos[row].encode()]
        assert len(example["frames"]) == len(example["seconds"]) == FRAMES[row]
        assert example["labels"].numpy().tolist() == [row % 3]
        assert example["label_seconds"].numpy().tolist() == [0, np.inf]
        assert [example[side].numpy().tolist() for side in ("height", "width")] == [[64], [96]]
    assert len(examples) == 3


def test_a_flipped_bit_costs_its_record_alone(levels, tmp_path):
    lengths = read_index(tmp_path)[1][1]["records"]["length"]
    offsets = np.cumsum([0, *[length + 16 for length in lengths]])
    names = ["4_30", "4_40", "4_50"]
    for number in range(3):
        # Of the length, of its checksum, in the middle of the data, at its end, of its checksum.
        for place in (0, 9, lengths[number] // 2, lengths[number] + 11, lengths[number] + 12):
            path = tmp_path / "x-00001-of-00003.tfrecord"
            flip_byte(path, offsets[number] + place)
            assert sound_rows(levels) == [row for row in range(9) if row != 3 + number], place
            shard, lost = levels.damage(1)
            assert shard.startswith("x-00001-of-00003.tfrecord: sha256 ")
            assert lost == f"  lost: {names[number]}"
            flip_byte(path, offsets[number] + place)
    assert [levels.damage(shard) for shard in range(3)] == [[], [], []]


def test_a_truncated_shard_keeps_the_records_before_the_cut(levels, tmp_path):
    path = tmp_path / "x-00001-of-00003.tfrecord"
    whole = path.read_bytes()
    first, second, _ = (length + 16 for length in read_index(tmp_path)[1][1]["records"]["length"])
    for size, lost in (
        (len(whole) - 1, [5]),
        (first + second, [5]),
        (first + 5, [4, 5]),
        (first - 1, [3, 4, 5]),
        (0, [3, 4, 5]),
    ):
        path.write_bytes(whole[:size])
        assert sound_rows(levels) == [row for row in range(9) if row not in lost]
        line, *paths = levels.damage(1)
        assert f"bytes {len(whole)} expected, {size} found" in line
        assert paths == [f"  lost: 4_{10 * row}" for row in lost]


def test_a_missing_or_exchanged_shard_is_lost_and_the_others_are_not(levels, tmp_path):
    first, second = (tmp_path / f"x-0000{number}-of-00003.tfrecord" for number in (0, 1))
    other = write_shard(Shard(str(tmp_path / "y"), (Video("5_0", ()),) * 3, Settings()), pictures)
    assert len(set(other["records"]["length"])) == 1
    os.replace(tmp_path / "y", second)
    assert sound_rows(levels) == [0, 1, 2, 6, 7, 8]
    first.unlink()
    assert sound_rows(levels) == [6, 7, 8]
    assert levels.damage(0) == [
        f"{first.name}: there is no such file",
        *(f"  lost: 4_{n}" for n in (0, 10, 20)),
    ]


def test_what_is_no_jpeg_though_its_checksum_is_right_is_a_bad_record(levels, tmp_path):
    path = tmp_path / "x-00000-of-00003.tfrecord"
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    begin = found[1].index(b"\xff\xd8\xff")
    found[1] = found[1][:begin] + b"none" + found[1][begin + 4 :]
    found[2] = b"\xff" * len(found[2])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in found:
            writer.write(record)
    assert sound_rows(levels) == [0, 3, 4, 5, 6, 7, 8]


def test_a_blank_clip_has_as_many_frames_as_were_wanted_of_a_damaged_picture(levels, tmp_path):
    os.unlink(tmp_path / "x-00000-of-00003.tfrecord")
    ok, frames, seconds = fetch(levels, 0, lambda n, draws: draws % n, [5, 6, 7])
    assert not ok and frames.shape == (3, 1, 1, 3) and seconds.tolist() == [0, 0, 0]


def test_a_shard_that_is_complete_is_kept_and_one_that_is_not_is_made_again(tmp_path):
    shard = Shard(str(tmp_path / "a.tfrecord"), (Video("4_0", ()), Video("3_9", ())), Settings())
    first = write_shard(shard, pictures)
    whole = (tmp_path / "a.tfrecord").read_bytes()
    assert first["sha256"] == hashlib.sha256(whole).hexdigest() and first["bytes"] == len(whole)

    def no_decoder(*_):
        raise RuntimeError("called")

    assert write_shard(shard, no_decoder) == json.loads(json.dumps(first))
    flip_byte(tmp_path / "a.tfrecord", 100)
    with pytest.raises(RuntimeError, match="called"):
        write_shard(shard, no_decoder)
    write_shard(shard, pictures)
    assert (tmp_path / "a.tfrecord").read_bytes() == whole
    (tmp_path / "a.tfrecord").unlink()
    write_shard(shard, pictures)
    assert (tmp_path / "a.tfrecord").read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ["a.tfrecord", "a.tfrecord.json"]


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    def failing(source, choose, transform):
        if source == "4_1":
            raise RuntimeError("out of order")
        return pictures(source, choose, transform)

    with pytest.raises(RuntimeError, match="out of order"):
        write_shard(Shard(str(tmp_path / "a"), (Video("4_0", ()), Video("4_1", ())), Settings()), failing)
    assert os.listdir(tmp_path) == []


def test_an_index_of_shards_that_are_not_complete_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"only complete shards. Received .*a\.tfrecord, which is not. Try"):
        write_index(str(tmp_path), {}, [Shard(str(tmp_path / "a.tfrecord"), (), Settings())])
    assert os.listdir(tmp_path) == []


def test_a_directory_without_index_is_unfinished(levels, tmp_path):
    assert is_records(tmp_path) and not is_records(tmp_path / INDEX) and not is_records(tmp_path / "none")
    os.unlink(tmp_path / INDEX)
    with pytest.raises(FileNotFoundError, match=r"Expected records in .*index\.jsonl.*Try: python -m pip"):
        open_records(tmp_path)


def test_a_damaged_index_is_refused(levels, tmp_path):
    path = tmp_path / INDEX
    whole = path.read_bytes()
    assert b'"labels": [0, 0, 0]' in whole
    for damaged in (
        b"",
        b"\n",
        whole[:-2],
        whole[:300],
        whole[: whole.rindex(b"{")],
        whole.replace(b'"labels": [0', b'"labels": [1', 1),
        whole.replace(b"4_30", b"4_\xff\xfe"),
        b"[" * 100_000,
        b'{"sha256": "%s"}\n' % hashlib.sha256(b"").hexdigest().encode(),
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"Expected the index .*index\.jsonl. Received a damaged one: .*Try"
        ):
            open_records(tmp_path)
    path.write_bytes(whole)
    assert len(open_records(tmp_path)) == 9


@pytest.mark.parametrize(
    "change",
    [
        lambda header, shard: header.pop("classes"),
        lambda header, shard: header.pop("settings"),
        lambda header, shard: header.update(mirrored=[0, 1, 7]),
        lambda header, shard: shard.pop("records"),
        lambda header, shard: shard["records"].pop("length"),
        lambda header, shard: shard["records"].update(labels=[0, 0, -1]),
        lambda header, shard: shard["records"].update(labels=[0, 0, 10**6]),
        lambda header, shard: shard["records"].update(labels=[0, 0, [[3, None, None]]]),
        lambda header, shard: shard["records"].update(frames=[4, 4, 0]),
        lambda header, shard: shard["records"].update(path=["a", "b"]),
        lambda header, shard: shard.update(unusable=[["path alone"]]),
    ],
)
def test_an_index_that_lacks_something_is_damaged(levels, tmp_path, change):
    """Its SHA-256 is right: someone wrote it so."""
    path = tmp_path / INDEX
    *lines, _ = map(json.loads, path.read_text().splitlines())
    change(lines[0], lines[1])
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    path.write_text(text + json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}) + "\n")
    with pytest.raises(ValueError, match=r"Expected the index .*Received a damaged one: .*Try"):
        open_records(tmp_path)


def test_records_of_nothing_but_bad_videos_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected records in .*not one video.*Try: .*index\.jsonl"):
        write(tmp_path, [[Video(str(tmp_path / "gone.mp4"), ())]])


def test_more_shards_than_files_may_be_open(tmp_path):
    rows = [Video(f"1_{row % 200}", (Label(0),)) for row in range(1100)]
    records = write(tmp_path, [[row] for row in rows], decode=pictures)
    data = tf.data.Dataset.range(1100).map(lambda row: records.fetch(row, all_frames, tf.range(0)))
    before = len(os.listdir("/proc/self/fd"))
    for row, (ok, frames, *_) in enumerate(data):
        assert ok and abs(int(frames[0, 0, 0, 0]) - row % 200) <= 2
        assert len(os.listdir("/proc/self/fd")) < before + 50


def test_other_file_systems_serve_too():
    """TensorFlow has a file system in memory."""
    tf.io.gfile.makedirs("ram://records")
    records = write(
        "ram://records", [[Video("4_0", (Label(0),))], [Video("4_10", (Label(1),))]], decode=pictures
    )
    assert sound_rows(records) == [0, 1] and records.damage(0) == []
    assert is_records("ram://records")
    assert sorted(tf.io.gfile.listdir("ram://records")) == [
        INDEX,
        "x-00000-of-00002.tfrecord",
        "x-00001-of-00002.tfrecord",
    ]


def test_a_remote_video_is_decoded_from_its_bytes(videos):
    tf.io.gfile.makedirs("ram://remote")
    tf.io.gfile.copy(videos[3], "ram://remote/v.mp4", overwrite=True)
    rows = [Video("ram://remote/v.mp4", ()), Video("ram://remote/gone.mp4", ())]
    records = write("ram://remote", [rows])
    assert ramp_videos.numbers(fetch(records, 0)[1]) == list(range(FRAMES[3]))
    assert [bad.reason for bad in records.manifest.unusable] == ["there is no such file"]


def test_a_data_service_delivers_every_clip_once(levels, tmp_path):
    """A dispatcher and two workers, as they would run on hosts of their own."""
    flip_byte(tmp_path / "x-00002-of-00003.tfrecord", 50)  # Row 6.
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)]

    def clip(row):
        draws = tf.random.stateless_uniform([2], tf.stack([row, 0]), maxval=2**31, dtype=tf.int64)
        return row, *levels.fetch(row, lambda n, draws: draws % n, draws)

    local = tf.data.Dataset.range(9).map(clip)
    expected = {
        int(row): (bool(ok), frames.numpy(), seconds.numpy()) for row, ok, frames, seconds, _ in local
    }
    served = local.apply(service.distribute(service.ShardingPolicy.DYNAMIC, dispatcher.target))
    arrived = []
    for row, ok, frames, seconds, reason in served:
        arrived.append(int(row))
        assert bool(ok) == expected[int(row)][0] == (int(row) != 6)
        np.testing.assert_array_equal(frames, expected[int(row)][1])
        np.testing.assert_array_equal(seconds, expected[int(row)][2])
        assert (reason == b"") == bool(ok)
    assert sorted(arrived) == list(range(9))
    assert len(workers) == 2  # Alive until here.


def test_bad_videos_are_not_confused_with_programming_errors(tmp_path):
    def wrong(source, choose, transform):
        raise BadVideo("<bytes>", "broken") if source == "4_0" else KeyError("oops")

    with pytest.raises(KeyError):
        write_shard(Shard(str(tmp_path / "a"), (Video("4_1", ()),), Settings()), wrong)
    line = write_shard(Shard(str(tmp_path / "a"), (Video("4_0", ()),), Settings()), wrong)
    assert line["unusable"] == [("4_0", "broken")] and line["records"]["path"] == []
