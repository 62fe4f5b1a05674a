"""Batches as pure functions of (seed, epoch, index), whatever is wrong with the files."""

import functools
import hashlib
import time

import numpy as np
import pytest
import ramp_videos
import small_run
import tensorflow as tf
from resizing import resized, to_short_side

from pipelines import clips
from pipelines.account import Account
from pipelines.augmenting import colour, crops, erasing, mixing, rand_augment
from pipelines.augmenting.resizing import scale_short_side
from pipelines.bad_video import BadVideo
from pipelines.dataset import ClipFormat, evaluation_views, training_clips
from pipelines.dataset.clip_format import normalise
from pipelines.decoding.decode import Clip, decode_frames
from pipelines.manifest import Label, Manifest, Video
from pipelines.order import Part, Schedule
from pipelines.video_files import VideoFiles

PLAIN = ClipFormat(frames=4, size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHOWING = ClipFormat(frames=4, size=32, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))


def telling_manifest(num_videos, **changes):
    videos = tuple(Video(f"{number}.mp4", (Label(number % 5),)) for number in range(num_videos))
    return Manifest(videos, tuple("abcde"), **changes)


def telling_decoder(bad=(), side=20):
    """Returns a decoder of made-up videos: red is the video, green the frame, blue the column."""

    def decode(path, choose, transform):
        video = int(path.removesuffix(".mp4"))
        if video in bad:
            raise BadVideo(path, "made to fail")
        seconds = np.arange(20 + video) / 10
        chosen = choose(seconds)
        frames = np.empty((len(chosen), side, side + 8, 3), np.uint8)
        frames[..., 0], frames[..., 2] = video, np.arange(side + 8)
        frames[..., 1] = np.reshape(chosen, (-1, 1, 1))
        made = frames if transform is None else np.stack([transform(frame) for frame in frames])
        return Clip(made, seconds[chosen])

    return decode


def batches(manifest, decode, account=None, scales=(1.0, 0.875, 0.75), fps=0.0, **changes):
    plan = {"batch_size": 4, "epochs": 2, "seed": 5, "repeats": 1}
    plan |= {name: changes.pop(name) for name in plan.keys() & changes.keys()}
    arguments = {
        "sample": clips.segment_training_clip,
        "transform": functools.partial(crops.multi_scale_crop, size=16, scales=scales),
        "flip": True,
        "account": Account(manifest) if account is None else account,
    }
    source, schedule = VideoFiles(manifest, decode, fps), Schedule(len(manifest), **plan)
    return training_clips(source, PLAIN, schedule, **arguments | changes)


def collect(data):
    """Returns [(clips, labels), ...] in NumPy."""
    return [tuple(part.numpy() for part in batch) for batch in data]


def videos_shown(data):
    """Returns the numbers of the videos, clip by clip."""
    shown = np.concatenate([pixels[..., 0] for pixels, _ in data])
    numbers = shown[:, 0, 0, 0].round()
    assert np.abs(shown - numbers[:, None, None, None]).max() < 1e-3
    return numbers.astype(int).tolist()


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_batches_have_one_static_shape_and_type():
    data = batches(telling_manifest(10), telling_decoder())
    assert data.element_spec == (
        tf.TensorSpec((4, 4, 16, 16, 3), tf.float32),
        tf.TensorSpec((4,), tf.int32),
    )
    assert data.cardinality() == 4  # 2 epochs of 10 // 4 batches.


def test_clips_and_labels_belong_together():
    data = collect(batches(telling_manifest(10), telling_decoder()))
    assert [number % 5 for number in videos_shown(data)] == np.concatenate([b[1] for b in data]).tolist()


def test_each_clip_takes_the_frames_that_its_generator_draws():
    data = collect(batches(telling_manifest(10), telling_decoder(), epochs=3))
    frames = np.concatenate([pixels[..., 0, 0, 1] for pixels, _ in data]).round().astype(int)
    for position, (video, shown) in enumerate(zip(videos_shown(data), frames, strict=True)):
        draws = Schedule(10, 4, 3, seed=5).order.draws(position, 0, 4).numpy()
        assert shown.tolist() == clips.segment_training_clip(20 + video, 4, draws).tolist()


def test_every_epoch_is_another_order_without_repeats():
    shown = videos_shown(collect(batches(telling_manifest(12), telling_decoder(), epochs=5)))
    orders = [tuple(shown[12 * epoch : 12 * epoch + 12]) for epoch in range(5)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(orders)) == 5


def test_the_videos_left_over_change_from_epoch_to_epoch():
    shown = videos_shown(collect(batches(telling_manifest(7), telling_decoder(), epochs=8)))
    epochs = [shown[4 * epoch : 4 * epoch + 4] for epoch in range(8)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert set(shown) == set(range(7))


def test_epochs_are_the_same_however_many_there_are_and_wherever_a_run_begins():
    manifest, decode = telling_manifest(10), telling_decoder()
    whole = collect(batches(manifest, decode, epochs=4))
    assert_same(collect(batches(manifest, decode, epochs=2)), whole[:4])
    assert_same(collect(batches(manifest, decode, epochs=4, first_step=6)), whole[6:])
    assert collect(batches(manifest, decode, epochs=4, first_step=8)) == []


def test_another_seed_gives_another_order():
    manifest, decode = telling_manifest(12), telling_decoder()
    orders = [tuple(videos_shown(collect(batches(manifest, decode, epochs=1, seed=s)))) for s in (0, 1, 2)]
    assert len(set(orders)) == 3


def augmented(first_step=0, colours=True, **changes):
    """Two epochs of 5 batches with all that can be random; colours take seconds to trace."""

    def transform(frames, seed):
        seeds = tf.unstack(tf.random.split(seed, 4))
        frames = crops.scale_jitter_crop(frames, 16, seeds[0], (18, 24))
        if colours:
            frames = colour.colour_jitter(frames, seeds[1])
            frames = rand_augment.rand_augment(frames, seeds[2])
        return erasing.random_erasing(frames, seeds[3], probability=0.5)

    return batches(
        telling_manifest(11),
        telling_decoder(bad={2, 7}),
        transform=transform,
        mix=functools.partial(mixing.mix, mixup_alpha=0.8, cutmix_alpha=1.0),
        repeats=2,
        first_step=first_step,
        **changes,
    )


def digest(data):
    """Returns a hash of every batch."""
    return [hashlib.sha256(b"".join(part.numpy().tobytes() for part in batch)).hexdigest() for batch in data]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_can_begin_at_every_batch_of_an_epoch(workers):
    whole = digest(augmented(colours=False))
    assert len(set(whole)) == 10
    for first_step in range(6):
        assert digest(augmented(first_step, colours=False, workers=workers)) == whole[first_step:]


@pytest.mark.long
def test_batches_are_the_same_with_one_worker_with_two_and_without_graphs():
    program = (
        "import sys, tensorflow as tf; sys.path.insert(0, 'tests'); import test_pipelines_dataset as here;"
        "tf.data.experimental.enable_debug_mode(); tf.config.run_functions_eagerly(True);"
        "print(*here.digest(here.augmented()))"
    )
    process = small_run.run_python("-c", program)
    in_graph = digest(augmented(workers=1))
    assert len(set(in_graph)) == 10
    assert in_graph == digest(augmented(workers=2)) == process.stdout.split(), process.stderr[-2000:]


def test_flipping_mirrors_about_half_of_the_clips_and_only_if_asked():
    for flip, fewest, most in ((False, 0, 0), (True, 20, 60)):
        data = collect(batches(telling_manifest(8), telling_decoder(), epochs=10, flip=flip))
        columns = np.concatenate([pixels[:, :, 0, :, 2] for pixels, _ in data])  # [clips, T, columns]
        mirrored = columns[..., 0] > columns[..., -1]
        assert (mirrored.all(axis=1) | ~mirrored.any(axis=1)).all()
        assert fewest <= mirrored[:, 0].sum() <= most


def test_a_mirrored_clip_has_the_mirrored_label():
    for mirrored, change in ((), range(5)), ((1, 0, 2, 4, 3), (1, 0, 2, 4, 3)):
        manifest = telling_manifest(10, mirrored=mirrored)
        plain = collect(batches(manifest, telling_decoder(), flip=False))
        flips = 0
        for (pixels, labels), (_, before) in zip(
            collect(batches(manifest, telling_decoder())), plain, strict=True
        ):
            flipped = pixels[:, 0, 0, 0, 2] > pixels[:, 0, 0, -1, 2]
            flips += flipped.sum()
            assert labels.tolist() == np.where(flipped, np.array(change)[before], before).tolist()
        assert 3 < flips < 13
    with pytest.raises(ValueError, match="names directions"):
        batches(telling_manifest(10, directional=True), telling_decoder())


def test_repeats_show_the_same_frames_of_a_video_in_different_crops():
    manifest = telling_manifest(9)
    data = collect(batches(manifest, telling_decoder(), repeats=2, epochs=1))
    assert len(data) == 4
    shown = np.reshape(videos_shown(data), (8, 2))
    assert (shown[:, 0] == shown[:, 1]).all() and len(set(shown[:, 0])) == 8
    clips_shown = np.concatenate([pixels for pixels, _ in data]).reshape(8, 2, 4, 16, 16, 3)
    np.testing.assert_array_equal(clips_shown[:, 0, ..., 1], clips_shown[:, 1, ..., 1])
    differ = (clips_shown[:, 0, ..., 2] != clips_shown[:, 1, ..., 2]).any(axis=(1, 2, 3))
    assert differ.sum() >= 6
    with pytest.raises(ValueError, match=r"multiple of repeats. Received batch_size=4, repeats=3. Try: .*=3"):
        batches(manifest, telling_decoder(), repeats=3)


def test_clips_keep_to_the_part_of_the_file_that_counts():
    videos = tuple(Video(f"{n}.mp4", (Label(0),), start=0.5, end=1.5) for n in range(4))
    data = collect(batches(Manifest(videos, ("a",)), telling_decoder(), flip=False, epochs=5))
    frames = np.concatenate([pixels[..., 0, 0, 1] for pixels, _ in data])
    assert (frames.min(), frames.max()) == (5, 12)  # Four segments of 2 of the frames 5 to 14.
    late = Manifest((Video("3.mp4", (Label(0),), start=50.0), *videos), ("a",))
    account = Account(late)
    collect(batches(late, telling_decoder(), account=account, epochs=3))
    assert account.reasons() == {"3.mp4": "no frame between 50.0 and None s"}


def test_clips_keep_to_the_frame_rate_asked_for():
    data = collect(batches(telling_manifest(4), telling_decoder(), fps=2.0, epochs=4))
    frames = np.concatenate([pixels[..., 0, 0, 1] for pixels, _ in data])
    assert set((frames % 5).ravel()) == {0}


def test_labels_follow_the_times_of_the_frames():
    video = Video("0.mp4", (Label(0, 0.0, 1.0), Label(1, 1.0, 2.0)))
    data = collect(
        batches(
            Manifest((video,), ("first", "second")),
            telling_decoder(),
            sample=lambda n, length, draws: np.full(length, draws[0] % n),
            batch_size=1,
            epochs=20,
        )
    )
    for pixels, labels in data:
        assert labels.tolist() == [[1, 0] if pixels[0, 0, 0, 0, 1] < 10 else [0, 1]]
    assert {tuple(labels[0].tolist()) for _, labels in data} == {(1, 0), (0, 1)}


def test_crops_and_flips_of_real_files_can_be_told_beforehand(tmp_path):
    paths = [ramp_videos.write(tmp_path / f"{number}.mp4", 12 + number, width=96) for number in range(5)]
    manifest = Manifest(tuple(Video(path, (Label(n),)) for n, path in enumerate(paths)), tuple("abcde"))
    account, schedule = Account(manifest), Schedule(5, 4, epochs=5, seed=9)
    order = schedule.order
    data = training_clips(
        VideoFiles(manifest),
        SHOWING,
        schedule,
        sample=clips.segment_training_clip,
        transform=functools.partial(crops.multi_scale_crop, size=32),
        flip=True,
        account=account,
        scale=functools.partial(scale_short_side, size=48),
    )
    boxes, flips = set(), 0
    for number, pixels in enumerate(np.concatenate([pixels for pixels, _ in collect(data)])):
        row = int(order.row(number, 0))
        chosen = clips.segment_training_clip(12 + row, 4, order.draws(number, 0, 4).numpy())
        crop_seed, flip_seed = tf.unstack(tf.random.split(order.pixel_seed(number), 2))
        (top, left), (height, width) = (
            part.numpy().tolist() for part in crops.multi_scale_box((48, 72), 32, crop_seed)
        )
        frames = decode_frames(paths[row], chosen, to_short_side(48)).frames
        expected = frames[:, top : top + height, left : left + width]
        if float(tf.random.stateless_uniform([], flip_seed)) < 0.5:
            expected, flips = expected[:, :, ::-1], flips + 1
        grey = pixels * SHOWING.std + SHOWING.mean
        np.testing.assert_allclose(grey, resized(expected, 32, 32), atol=0.501)
        boxes.add((top, left, height, width))
    assert len(boxes) > 10 and 4 < flips < 16


class DamagedRecords:
    """A source like records: all in the graph, and some rows cannot be read."""

    def __init__(self, manifest, damaged):
        self.manifest, self._damaged = manifest, tf.constant(sorted(damaged), tf.int64)

    needs_python, fps = False, 0.0

    def fetch(self, row, sample, draws, transform=None):
        ok = ~tf.reduce_any(row == self._damaged)
        numbers = tf.reshape(sample(tf.constant(20, tf.int64), draws), [-1])
        shape = tf.concat([tf.shape(numbers), [20, 24, 3]], axis=0)
        reason = tf.where(ok, "", "its record is damaged")
        return ok, tf.cast(tf.fill(shape, row), tf.uint8), tf.cast(numbers, tf.float32), reason


def test_damaged_records_are_named_and_counted():
    manifest = telling_manifest(10)
    account = Account(manifest)
    data = training_clips(
        DamagedRecords(manifest, {2, 5}),
        PLAIN,
        Schedule(10, batch_size=4, epochs=3),
        sample=clips.segment_training_clip,
        transform=functools.partial(crops.multi_scale_crop, size=16),
        flip=False,
        account=account,
    )
    order = Schedule(10, 4, 3).order
    shown = videos_shown(collect(data))
    first_rows = [int(order.row(number, 0)) for number in range(24)]
    assert [new for old, new in zip(first_rows, shown, strict=True) if old not in (2, 5)] == [
        old for old in first_rows if old not in (2, 5)
    ]
    assert not {2, 5} & set(shown)
    assert account.reasons() == dict.fromkeys(("2.mp4", "5.mp4"), "its record is damaged")
    assert account.summary()["replaced_clips"] == sum(old in (2, 5) for old in first_rows)


def test_a_service_is_refused_for_files():
    with pytest.raises(
        ValueError, match=r"Expected records .*Received video files. Try: .*pipelines.records"
    ):
        batches(telling_manifest(10), telling_decoder(), service="grpc://localhost:1")


def test_a_bad_video_is_replaced_and_leaves_all_other_clips_as_they_were():
    manifest = telling_manifest(10)
    account = Account(manifest)
    good = collect(batches(manifest, telling_decoder(), epochs=3))
    patched = collect(batches(manifest, telling_decoder(bad={3, 6}), epochs=3, account=account))
    assert account.reasons() == {"3.mp4": "made to fail", "6.mp4": "made to fail"}
    assert not {3, 6} & set(videos_shown(patched))
    good_clips, patched_clips = (np.concatenate([b[0] for b in data]) for data in (good, patched))
    replaced = [number in (3, 6) for number in videos_shown(good)]
    assert 0 < sum(replaced) <= 6
    for before, after, was_replaced in zip(good_clips, patched_clips, replaced, strict=True):
        assert was_replaced or (before == after).all()


@pytest.mark.parametrize("mixes", [False, True])
def test_the_parts_of_workers_are_the_batches_of_one(mixes):
    mix = functools.partial(mixing.mix, mixup_alpha=0.5, cutmix_alpha=0.5) if mixes else None
    flags = {"batch_size": 8, "repeats": 2, "mix": mix, "skipped": (1,)}
    manifest, decode = telling_manifest(13), telling_decoder(bad=(4, 7))
    account = Account(manifest)
    whole, accounts = collect(batches(manifest, decode, account, **flags)), []
    for number in range(2):
        accounts.append(Account(manifest))
        part = Part(number, 2)
        places = [2 * place + repeat for place in part.places(4, mixes) for repeat in range(2)]
        for own, of_all in zip(
            collect(batches(manifest, decode, accounts[-1], part=part, **flags)), whole, strict=True
        ):
            np.testing.assert_array_equal(own[0], of_all[0][places])
            np.testing.assert_array_equal(own[1], of_all[1][places])
    joined = account.joined([each.state(99) for each in accounts])
    assert joined.summary() == account.summary()


def test_what_takes_a_bad_videos_place_does_not_depend_on_when_it_was_found():
    manifest, decode = telling_manifest(10), telling_decoder(bad={1, 4, 8})
    whole = collect(batches(manifest, decode, epochs=3))
    known = Account(manifest)
    for number in (1, 8):
        known.add(number, BadVideo(f"{number}.mp4", "known before"))
    assert_same(collect(batches(manifest, decode, epochs=3, account=known)), whole)
    assert_same(collect(batches(manifest, decode, epochs=3, first_step=4)), whole[4:])


def test_a_video_damaged_in_one_place_gives_the_same_clips_after_resuming():
    def decode(path, choose, transform):
        clip = telling_decoder()(path, choose, transform)
        if clip.frames[0, 0, 0, 1] == 2:  # The first of the chosen frames is the damaged one.
            raise BadVideo(path, "frame 2 is damaged")
        return clip

    manifest = telling_manifest(10)
    account = Account(Manifest(manifest.videos * 2, manifest.classes))
    whole = collect(batches(manifest, decode, epochs=4, account=account))
    assert len(account) > 2
    assert_same(collect(batches(manifest, decode, epochs=4, first_step=4)), whole[4:])


def test_too_many_bad_videos_end_the_iteration():
    account = Account(telling_manifest(10), max_bad_fraction=0.2)
    with pytest.raises(tf.errors.OpError, match=r"(?s)TooManyBadVideos: .*at most 20\.0% bad.*made to fail"):
        collect(batches(telling_manifest(10), telling_decoder(bad={1, 2, 3}), account=account))


def test_as_many_bad_videos_as_allowed_do_not():
    account = Account(telling_manifest(10), max_bad_fraction=0.3)
    collect(batches(telling_manifest(10), telling_decoder(bad={1, 2, 3}), epochs=4, account=account))
    assert len(account) == 3


def test_nothing_but_bad_videos_ends_the_iteration():
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(batches(telling_manifest(10), telling_decoder(bad=range(10))))


def test_bad_videos_listed_twice_end_the_iteration_too():
    twice = Manifest(telling_manifest(4).videos * 3, tuple("abcde"))
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(batches(twice, telling_decoder(bad=range(4))))


def test_fewer_videos_than_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 training videos .*Received 3.*Try: batch_size=1"):
        batches(telling_manifest(3), telling_decoder())


def test_a_single_video_is_enough():
    assert (
        videos_shown(collect(batches(telling_manifest(1), telling_decoder(), epochs=3, batch_size=1)))
        == [0] * 3
    )


def views(
    manifest, decode, num_clips=2, num_crops=3, batch_size=5, account=None, clip_format=PLAIN, **options
):
    account = Account(manifest) if account is None else account
    return evaluation_views(
        VideoFiles(manifest, decode),
        clip_format,
        sample=clips.segment_test_clips,
        clips=num_clips,
        crops=num_crops,
        batch_size=batch_size,
        account=account,
        **options,
    )


def test_views_follow_the_manifest_with_clips_outermost():
    data = views(telling_manifest(3), telling_decoder(side=16))
    assert data.cardinality() == 4  # 18 views in batches of 5.
    pixels, labels, weights = (np.concatenate(parts) for parts in zip(*collect(data), strict=True))
    assert pixels.shape == (18, 4, 16, 16, 3)
    assert labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert weights.tolist() == [1.0] * 18
    for number, view in enumerate(pixels):
        video, clip, crop = number // 6, number // 3 % 2, number % 3
        assert (view[..., 0] == video).all()
        frames = clips.segment_test_clips(20 + video, 4, 2)[clip]
        np.testing.assert_array_equal(view[:, 0, 0, 1], frames)
        left = (0, 4, 8)[crop]  # The frames are 16 x 24.
        np.testing.assert_array_equal(view[0, 0, :, 2], np.arange(left, left + 16))


@pytest.mark.parametrize(
    "num_clips, num_crops, batch_size, count", [(1, 1, 4, 2), (10, 3, 30, 5), (1, 3, 1, 15)]
)
def test_the_number_of_batches_is_known_and_true(num_clips, num_crops, batch_size, count):
    data = views(telling_manifest(5), telling_decoder(side=16), num_clips, num_crops, batch_size)
    assert data.cardinality() == len(collect(data)) == count


@pytest.mark.parametrize("labels", [(Label(1),), (Label(1), Label(3))])
def test_blank_views_fill_up_the_last_batch_and_weigh_nothing(labels):
    manifest = Manifest(tuple(Video(f"{n}.mp4", labels) for n in range(3)), tuple("abcde"))
    plain = collect(views(manifest, telling_decoder(side=16)))
    filled = collect(views(manifest, telling_decoder(side=16), fill=True))
    assert [len(batch[2]) for batch in filled] == [5, 5, 5, 5] and len(plain[-1][2]) == 3
    for before, after in zip(plain[-1], filled[-1], strict=True):
        np.testing.assert_array_equal(after[:3], before)
    assert filled[-1][2].tolist() == [1, 1, 1, 0, 0] and not filled[-1][1][3:].any()
    even = collect(views(manifest, telling_decoder(side=16), batch_size=6, fill=True))
    assert [batch[2].tolist() for batch in even] == [[1.0] * 6] * 3


def test_views_of_a_bad_video_weigh_nothing_and_keep_its_place():
    account = Account(telling_manifest(4))
    good = collect(views(telling_manifest(4), telling_decoder(side=16), batch_size=24))[0]
    data = collect(views(telling_manifest(4), telling_decoder({2}, side=16), batch_size=24, account=account))[
        0
    ]
    assert account.reasons() == {"2.mp4": "made to fail"}
    assert data[2].tolist() == [1.0] * 12 + [0.0] * 6 + [1.0] * 6
    np.testing.assert_array_equal(data[1], good[1])
    for number in (0, 1, 3):
        np.testing.assert_array_equal(
            data[0][6 * number : 6 * number + 6], good[0][6 * number : 6 * number + 6]
        )


def shaped(path, choose, transform):
    """Decodes made-up videos of three shapes, of which the second is bad; grey levels tell the video."""
    video = int(path.removesuffix(".mp4"))
    if video == 1:
        raise BadVideo(path, "made to fail")
    chosen = choose(np.arange(20) / 10)
    sides = ((16, 24), (16, 16), (40, 20))[video % 3]
    frames = [np.full((*sides, 3), 10 * video + 1, np.uint8) for _ in chosen]
    return Clip(np.stack([transform(frame) for frame in frames]), chosen / 10)


def test_whole_frames_have_batches_of_one_video_each():
    account = Account(telling_manifest(5))
    whole = {"num_clips": 3, "num_crops": 1, "batch_size": 2, "places": "whole", "slots": 4, "fill": True}
    data = views(telling_manifest(5), shaped, account=account, **whole)
    assert data.cardinality() == 10 and data.element_spec[0].shape == (2, 4, None, None, 3)
    found = collect(data)
    shapes = {0: (16, 24), 1: (16, 16), 2: (32, 16), 3: (16, 24), 4: (16, 16)}
    for number, (pixels, labels, weights) in enumerate(found):
        video = number // 2
        assert pixels.shape == (2, 4, *shapes[video], 3)
        assert (pixels == (10 * video + 1) * (video != 1)).all()
        assert labels.tolist() == [video, video]
        assert weights.tolist() == [float(video != 1), float(video != 1 and number % 2 == 0)]
    assert account.reasons() == {"1.mp4": "made to fail"}
    assert_same(found[8:], collect(views(telling_manifest(5), shaped, views=range(16, 20), **whole)))
    larger = collect(views(telling_manifest(5), shaped, short_side=24, **whole))
    assert [len(batch[0][0, 0]) for batch in larger[::2]] == [24, 24, 48, 24, 24]


@pytest.mark.parametrize("wrong", [{"num_crops": 3}, {"slots": 3}, {"slots": 2}])
def test_whole_frames_of_two_videos_never_share_a_batch(wrong):
    whole = {"num_clips": 3, "num_crops": 1, "batch_size": 2, "places": "whole", "slots": 4} | wrong
    with pytest.raises(ValueError, match=r"Expected at least \d+ slots, .*Try: crops=1, slots=4"):
        views(telling_manifest(5), shaped, **whole)


def test_a_frame_that_would_become_too_large_is_a_bad_video():
    def long(path, choose, transform):
        return Clip(np.stack([transform(np.zeros((1, 40000, 3), np.uint8))] * 4), np.arange(4) / 10)

    account = Account(telling_manifest(2), None)
    whole = {"num_clips": 1, "num_crops": 1, "batch_size": 1, "places": "whole"}
    for pixels, _, weights in collect(views(telling_manifest(2), long, account=account, **whole)):
        assert pixels.shape == (1, 4, 16, 16, 3) and weights.tolist() == [0.0]
    assert "10,240,000 pixels of a scaled frame are above the limit" in account.reasons()["0.mp4"]


def test_each_frame_is_decoded_once_for_all_views_of_a_video():
    decode, asked = telling_decoder(side=16), []

    def once(path, choose, transform):
        def remembered(seconds):
            asked.append(choose(seconds).tolist())
            return np.array(asked[-1])

        return decode(path, remembered, transform)

    sample = functools.partial(clips.dense_test_clips, window=8)
    data = evaluation_views(
        VideoFiles(telling_manifest(3), once), PLAIN, sample=sample, clips=9, crops=3, batch_size=5,
        account=Account(telling_manifest(3)),
    )  # fmt: skip
    pixels = np.concatenate([part[0] for part in collect(data)])
    assert len(asked) == 3 and all(frames == sorted(set(frames)) for frames in asked)
    for number, view in enumerate(pixels):
        video, clip = number // 27, number // 3 % 9
        np.testing.assert_array_equal(view[:, 0, 0, 1], sample(20 + video, 4, 9)[clip])
    assert sum(map(len, asked)) < len(pixels) // 3 * 4  # Clips share frames.


@pytest.mark.parametrize(("batch_size", "ahead"), [(2, 1), (12, 7)])
def test_videos_are_read_ahead_as_far_as_a_batch_has_memory(batch_size, ahead):
    decode, begun = telling_decoder(side=16), []

    def counted(path, choose, transform):
        begun.append(path)
        return decode(path, choose, transform)

    iterator = iter(views(telling_manifest(40), counted, 2, 3, batch_size, workers=32))
    next(iterator)
    seen = -1
    while seen < len(begun):  # The pipeline comes to rest when it is full.
        seen = len(begun)
        time.sleep(0.3)
    of_batches = -(-2 * batch_size // 6)  # The batch that was taken, and the one that is ready.
    assert of_batches < len(begun) <= of_batches + ahead


def test_too_many_bad_videos_end_an_evaluation():
    manifest = telling_manifest(4)
    for bad, account in (({1}, Account(manifest, 0.0)), (range(4), Account(manifest))):
        with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
            collect(views(manifest, telling_decoder(bad, side=16), account=account))


def damaged_manifest(directory, width):
    """Four real files, the third one damaged."""
    paths = [ramp_videos.write(directory / f"{number}.mp4", 30 + number, width=width) for number in range(4)]
    with open(paths[2], "r+b") as file:
        file.truncate(2000)
    return Manifest(tuple(Video(path, (Label(n),)) for n, path in enumerate(paths)), tuple("abcd"))


def test_views_of_real_files_are_those_of_a_direct_decode(tmp_path):
    manifest = damaged_manifest(tmp_path, width=96)
    data = collect(views(manifest, decode_frames, 2, 3, 24, clip_format=SHOWING))[0]
    assert data[2].tolist() == [1.0] * 12 + [0.0] * 6 + [1.0] * 6
    for number in (0, 1, 3):
        for clip, frame_numbers in enumerate(clips.segment_test_clips(30 + number, 4, 2)):
            path = manifest.videos[number].path
            frames = decode_frames(path, frame_numbers, to_short_side(32)).frames.astype("float32")
            normal = (frames - SHOWING.mean) / SHOWING.std  # [T, 32, 48, 3]
            for crop, left in enumerate((0, 8, 16)):
                view = data[0][6 * number + 3 * clip + crop]
                off = np.abs(view - normal[:, :, left : left + 32])
                assert (
                    off.max() < 1.01 / 50 and (off > 1e-5).mean() < 1e-3
                )  # Halves may be rounded otherwise.


def test_training_on_real_files_skips_the_damaged_one(tmp_path):
    manifest = damaged_manifest(tmp_path, width=64)
    account = Account(manifest)
    data = training_clips(
        VideoFiles(manifest),
        SHOWING,
        Schedule(4, batch_size=4, epochs=3),
        sample=clips.dense_training_clip,
        transform=lambda frames, seed: frames,
        flip=False,
        account=account,
        scale=functools.partial(scale_short_side, size=32),
    )
    for pixels, labels in collect(data):
        grey = pixels * SHOWING.std + SHOWING.mean
        assert grey.min() > -1e-3 and grey.max() < 255 + 1e-3
        for clip, label in zip(grey, labels.tolist(), strict=True):
            assert label != 2
            expected = [16 * i % (30 + label) for i in range(4)]  # Shorter than the window: from frame 0 on.
            assert ramp_videos.numbers(clip) == expected
    assert list(account.reasons()) == [manifest.videos[2].path]
    assert account.summary()["used"] == 3 and account.summary()["replaced_clips"] == 3


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 2, 3, 5, 3)])
def test_normalise_works_channel_by_channel(dtype, shape):
    clip = np.random.default_rng(0).uniform(0, 255, shape).astype(dtype)
    result = normalise(clip, (10.0, 20.0, 30.0), (2.0, 4.0, 8.0))
    assert result.dtype == tf.float32 and result.shape == shape
    for channel, (mean, std) in enumerate([(10, 2), (20, 4), (30, 8)]):
        exact = (clip[..., channel].astype("float32") - mean) / std
        np.testing.assert_allclose(result[..., channel], exact, rtol=1e-6)
