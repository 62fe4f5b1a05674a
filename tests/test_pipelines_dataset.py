"""Batches as pure functions of (seed, epoch, index), whatever is wrong with the files."""

import numpy as np
import pytest
import ramp_videos
import tensorflow as tf

from pipelines import clips, dataset
from pipelines.bad_videos import BadVideo, BadVideos
from pipelines.dataset import ClipFormat, evaluation_views, training_clips
from pipelines.decode import decode_frames
from pipelines.manifest import Manifest, Video

PLAIN = ClipFormat(frames=4, size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHOWING = ClipFormat(frames=4, size=32, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))


def telling_manifest(num_videos):
    return Manifest(tuple(Video(f"{number}.mp4", number % 5) for number in range(num_videos)), tuple("abcde"))


def telling_decoder(bad=()):
    """Returns a decoder of made-up videos: red is the video's number, green the frame's, blue the column."""

    def decode(path, choose, short_side):
        video = int(path.removesuffix(".mp4"))
        if video in bad:
            raise BadVideo(path, "made to fail")
        numbers = choose(20 + video)
        frames = np.empty((len(numbers), short_side, short_side + 8, 3), np.uint8)
        frames[..., 0], frames[..., 2] = video, np.arange(short_side + 8)
        frames[..., 1] = np.reshape(numbers, (-1, 1, 1))
        return frames

    return decode


def batches(manifest, decode, epochs=2, bad_videos=None, **changes):
    arguments = {
        "choose": clips.segment_training_clip,
        "short_side": 20,
        "scales": (1.0, 0.875, 0.75),
        "flip": True,
        "batch_size": 4,
        "seed": 5,
        "bad_videos": BadVideos(len(manifest)) if bad_videos is None else bad_videos,
    }
    return training_clips(manifest, PLAIN, epochs=epochs, decode=decode, **arguments | changes)


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
    assert dataset.steps_per_epoch(telling_manifest(10), 4) == 2


def test_clips_and_labels_belong_together():
    data = collect(batches(telling_manifest(10), telling_decoder()))
    assert [number % 5 for number in videos_shown(data)] == np.concatenate([b[1] for b in data]).tolist()


def test_each_clip_takes_the_frames_that_its_generator_draws():
    data = collect(batches(telling_manifest(10), telling_decoder(), epochs=3))
    frames = np.concatenate([pixels[..., 0, 0, 1] for pixels, _ in data]).round().astype(int)
    for position, (video, shown) in enumerate(zip(videos_shown(data), frames, strict=True)):
        generator = clips.clip_generator(5, position // 8, position % 8)
        assert shown.tolist() == clips.segment_training_clip(20 + video, 4, generator).tolist()


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
    assert_same(collect(batches(manifest, decode, epochs=4, first_epoch=3)), whole[6:])
    assert collect(batches(manifest, decode, epochs=4, first_epoch=4)) == []


def test_another_seed_gives_another_order():
    manifest, decode = telling_manifest(12), telling_decoder()
    orders = [tuple(videos_shown(collect(batches(manifest, decode, epochs=1, seed=s)))) for s in (0, 1, 2)]
    assert len(set(orders)) == 3


def test_flipping_mirrors_about_half_of_the_clips_and_only_if_asked():
    for flip, fewest, most in ((False, 0, 0), (True, 20, 60)):
        data = collect(batches(telling_manifest(8), telling_decoder(), epochs=10, flip=flip))
        columns = np.concatenate([pixels[:, :, 0, :, 2] for pixels, _ in data])  # [clips, T, columns]
        mirrored = columns[..., 0] > columns[..., -1]
        assert (mirrored.all(axis=1) | ~mirrored.any(axis=1)).all()
        assert fewest <= mirrored[:, 0].sum() <= most


def test_a_bad_video_is_replaced_and_leaves_all_other_clips_as_they_were():
    manifest, account = telling_manifest(10), BadVideos(10)
    good = collect(batches(manifest, telling_decoder(), epochs=3))
    patched = collect(batches(manifest, telling_decoder(bad={3, 6}), epochs=3, bad_videos=account))
    assert account.reasons() == {"3.mp4": "made to fail", "6.mp4": "made to fail"}
    assert not {3, 6} & set(videos_shown(patched))
    good_clips, patched_clips = (np.concatenate([b[0] for b in data]) for data in (good, patched))
    replaced = [number in (3, 6) for number in videos_shown(good)]
    assert 0 < sum(replaced) <= 6
    for before, after, was_replaced in zip(good_clips, patched_clips, replaced, strict=True):
        assert was_replaced or (before == after).all()


def test_what_takes_a_bad_videos_place_does_not_depend_on_when_it_was_found():
    manifest, decode = telling_manifest(10), telling_decoder(bad={1, 4, 8})
    whole = collect(batches(manifest, decode, epochs=3))
    known = BadVideos(10, found=[BadVideo(f"{number}.mp4", "known before") for number in (1, 8)])
    assert_same(collect(batches(manifest, decode, epochs=3, bad_videos=known)), whole)
    assert_same(collect(batches(manifest, decode, epochs=3, first_epoch=2)), whole[4:])


def test_a_video_damaged_in_one_place_gives_the_same_clips_after_resuming():
    def decode(path, choose, short_side):
        frames = telling_decoder()(path, choose, short_side)
        if frames[0, 0, 0, 1] == 2:  # The first of the chosen frames is the damaged one.
            raise BadVideo(path, "frame 2 is damaged")
        return frames

    manifest, account = telling_manifest(10), BadVideos(20)
    whole = collect(batches(manifest, decode, epochs=4, bad_videos=account))
    assert len(account) > 2
    assert_same(collect(batches(manifest, decode, epochs=4, first_epoch=2)), whole[4:])


def test_too_many_bad_videos_end_the_iteration():
    account = BadVideos(10, max_fraction=0.2)
    with pytest.raises(tf.errors.OpError, match=r"(?s)TooManyBadVideos: .*at most 20\.0% bad.*made to fail"):
        collect(batches(telling_manifest(10), telling_decoder(bad={1, 2, 3}), bad_videos=account))


def test_as_many_bad_videos_as_allowed_do_not():
    account = BadVideos(10, max_fraction=0.3)
    collect(batches(telling_manifest(10), telling_decoder(bad={1, 2, 3}), epochs=4, bad_videos=account))
    assert len(account) == 3


def test_nothing_but_bad_videos_ends_the_iteration():
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(batches(telling_manifest(10), telling_decoder(bad=range(10))))


def test_bad_videos_listed_twice_end_the_iteration_too():
    twice = Manifest(telling_manifest(4).videos * 3, tuple("abcde"))
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(batches(twice, telling_decoder(bad=range(4))))


def test_fewer_videos_than_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"at least batch_size=4 .*Received 3.*Try: --batch_size=3"):
        batches(telling_manifest(3), telling_decoder())


def test_a_single_video_is_enough():
    assert (
        videos_shown(collect(batches(telling_manifest(1), telling_decoder(), epochs=3, batch_size=1)))
        == [0] * 3
    )


def views(manifest, decode, num_clips=2, crops=3, batch_size=5, bad_videos=None, clip_format=PLAIN):
    return evaluation_views(
        manifest,
        clip_format,
        choose=clips.segment_test_clips,
        clips=num_clips,
        crops=crops,
        batch_size=batch_size,
        bad_videos=BadVideos(len(manifest)) if bad_videos is None else bad_videos,
        decode=decode,
    )


def test_views_follow_the_manifest_with_clips_outermost():
    data = views(telling_manifest(3), telling_decoder())
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


@pytest.mark.parametrize("num_clips, crops, batch_size, count", [(1, 1, 4, 2), (10, 3, 30, 5), (1, 3, 1, 15)])
def test_the_number_of_batches_is_known_and_true(num_clips, crops, batch_size, count):
    data = views(telling_manifest(5), telling_decoder(), num_clips, crops, batch_size)
    assert data.cardinality() == len(collect(data)) == count


def test_views_of_a_bad_video_weigh_nothing_and_keep_its_place():
    account = BadVideos(4)
    good = collect(views(telling_manifest(4), telling_decoder(), batch_size=24))[0]
    data = collect(views(telling_manifest(4), telling_decoder(bad={2}), batch_size=24, bad_videos=account))[0]
    assert account.reasons() == {"2.mp4": "made to fail"}
    assert data[2].tolist() == [1.0] * 12 + [0.0] * 6 + [1.0] * 6
    np.testing.assert_array_equal(data[1], good[1])
    for number in (0, 1, 3):
        np.testing.assert_array_equal(
            data[0][6 * number : 6 * number + 6], good[0][6 * number : 6 * number + 6]
        )


def test_too_many_bad_videos_end_an_evaluation():
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(views(telling_manifest(4), telling_decoder(bad={1}), bad_videos=BadVideos(4, 0.0)))
    with pytest.raises(tf.errors.OpError, match="TooManyBadVideos"):
        collect(views(telling_manifest(4), telling_decoder(bad=range(4))))


def damaged_manifest(directory, width):
    """Four real files, the third one damaged."""
    paths = [ramp_videos.write(directory / f"{number}.mp4", 30 + number, width=width) for number in range(4)]
    with open(paths[2], "r+b") as file:
        file.truncate(2000)
    return Manifest(tuple(Video(path, number) for number, path in enumerate(paths)), tuple("abcd"))


def test_views_of_real_files_are_those_of_a_direct_decode(tmp_path):
    manifest = damaged_manifest(tmp_path, width=96)
    data = collect(views(manifest, decode_frames, 2, 3, 24, clip_format=SHOWING))[0]
    assert data[2].tolist() == [1.0] * 12 + [0.0] * 6 + [1.0] * 6
    for number in (0, 1, 3):
        for clip, frame_numbers in enumerate(clips.segment_test_clips(30 + number, 4, 2)):
            frames = decode_frames(manifest.videos[number].path, frame_numbers, 32).astype("float32")
            normal = (frames - SHOWING.mean) / SHOWING.std  # [T, 32, 48, 3]
            for crop, left in enumerate((0, 8, 16)):
                view = data[0][6 * number + 3 * clip + crop]
                np.testing.assert_allclose(view, normal[:, :, left : left + 32], atol=1e-5)


def test_training_on_real_files_skips_the_damaged_one(tmp_path):
    manifest, account = damaged_manifest(tmp_path, width=64), BadVideos(4)
    data = training_clips(
        manifest,
        SHOWING,
        choose=clips.dense_training_clip,
        short_side=32,
        scales=(1.0,),
        flip=False,
        batch_size=4,
        epochs=3,
        seed=0,
        bad_videos=account,
    )
    for pixels, labels in collect(data):
        grey = pixels * SHOWING.std + SHOWING.mean
        assert grey.min() > -1e-3 and grey.max() < 255 + 1e-3
        for clip, label in zip(grey, labels.tolist(), strict=True):
            assert label != 2
            expected = [16 * i % (30 + label) for i in range(4)]  # Shorter than the window: from frame 0 on.
            assert ramp_videos.numbers(clip) == expected
    assert list(account.reasons()) == [manifest.videos[2].path]
