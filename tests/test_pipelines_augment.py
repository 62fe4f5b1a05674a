"""Clip operations, on frames whose values tell frame and position: where each crop lay can be read off."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import augment

SCALES = (1.0, 0.875, 0.75, 0.66)


def ramp(num_frames, height, width):
    """uint8 [T, H, W, 3] of (row, column, frame number)."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(height)[:, None]
    frames[..., 1] = np.arange(width)
    frames[..., 2] = np.arange(num_frames)[:, None, None]
    return frames


def boxes(clip):
    """Reads (top, left, height, width) of the box that each frame of a resized ramp [T, S, S, 3] shows."""
    size = clip.shape[1]
    found = []
    for rows, columns in zip(clip[:, :, 0, 0], clip[:, 0, :, 1], strict=True):
        steps = [(line[-2] - line[1]) / (size - 3) for line in (rows, columns)]
        corner = [line[1] + 0.5 - 1.5 * step for line, step in zip((rows, columns), steps, strict=True)]
        found.append(tuple(round(float(number)) for number in (*corner, steps[0] * size, steps[1] * size)))
    return found


def tsn_boxes(height, width, size):
    """Returns {box: the places (0 to 12) at which it may lie} by the rules of TSN, pair by pair."""
    base, found = min(height, width), {}
    lengths = []
    for scale in SCALES:
        length = int(base * scale)
        lengths.append(size if abs(length - size) < 3 else length)
    for i, box_height in enumerate(lengths):
        for j, box_width in enumerate(lengths):
            if abs(i - j) > 1:
                continue
            down, right = (height - box_height) // 4, (width - box_width) // 4
            corners = [(0, 0), (0, 4 * right), (4 * down, 0), (4 * down, 4 * right)]
            middle = (2 * down, 2 * right)
            edges = [(0, 2 * right), (4 * down, 2 * right), (2 * down, 0), (2 * down, 4 * right)]
            quarters = [(down, right), (down, 3 * right), (3 * down, right), (3 * down, 3 * right)]
            for place, corner in enumerate([*corners, middle, *edges, *quarters]):
                found.setdefault((*corner, box_height, box_width), set()).add(place)
    return found


def draw_boxes(height, width, size, draws):
    frames = tf.constant(ramp(3, height, width))
    crop = tf.function(lambda seed: augment.multi_scale_crop(frames, size, seed))
    found = []
    for number in range(draws):
        clip = crop(tf.constant([7, number])).numpy()
        assert clip.shape == (3, size, size, 3)
        assert clip.min() >= 0 and clip.max() <= 255
        of_frames = boxes(clip)
        assert of_frames == [of_frames[0]] * 3
        np.testing.assert_array_equal(clip[..., 2], np.broadcast_to([[[0]], [[1]], [[2]]], clip.shape[:3]))
        found.append(of_frames[0])
    return found


@pytest.mark.parametrize("height, width", [(64, 100), (100, 64), (80, 80)])
def test_multi_scale_crops_are_those_of_tsn_and_all_of_them(height, width):
    possible, drawn = tsn_boxes(height, width, 40), draw_boxes(height, width, 40, 800)
    assert set(drawn) <= set(possible)
    assert {box[2:] for box in drawn} == {box[2:] for box in possible}
    assert len({box[2:] for box in drawn}) == 10
    certain = [next(iter(possible[box])) for box in drawn if len(possible[box]) == 1]
    assert set(certain) == set(range(13))
    assert max(np.bincount(certain)) < 3 * min(np.bincount(certain))


def test_lengths_within_three_pixels_of_the_size_become_the_size():
    # 64 * (1, .875, .75, .66) = 64, 56, 48, 42: 42 is 2 from 40, and 48 is too far from 45.
    assert {box[2] for box in draw_boxes(64, 100, 40, 60)} == {64, 56, 48, 40}
    assert {box[2] for box in draw_boxes(64, 100, 45, 60)} == {64, 56, 48, 42}


def test_a_crop_never_exceeds_the_frame():
    # The short side 38 is within 3 pixels of 40, which would not fit.
    assert {box[2] for box in draw_boxes(38, 60, 40, 60)} == {38, 33, 28, 25}


def test_a_seed_fixes_the_crop():
    frames = ramp(2, 64, 100)
    first, again, other = (
        augment.multi_scale_crop(frames, 32, seed).numpy() for seed in ((1, 2), (1, 2), (3, 4))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("level", [0, 255])
def test_resizing_keeps_within_the_range_of_grey_levels(level):
    frames = np.full((1, 50, 70, 3), level, np.uint8)
    for size in (20, 49, 90):
        assert (augment.multi_scale_crop(frames, size, (0, 0)).numpy() == level).all()


def test_the_middle_of_a_box_stays_in_the_middle():
    clip = augment.crop_and_resize(ramp(1, 60, 90), (10, 20), (30, 40), 16).numpy()
    np.testing.assert_allclose(clip[0, 7:9, 0, 0].mean(), 10 + 30 / 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(clip[0, 0, 7:9, 1].mean(), 20 + 40 / 2 - 0.5, atol=1e-4)


def test_about_half_of_the_clips_are_mirrored_and_always_whole():
    clip = tf.constant(ramp(4, 5, 6), tf.float32)
    flip = tf.function(augment.random_flip)
    mirrored = 0
    for number in range(400):
        result = flip(clip, tf.constant([3, number])).numpy()
        if (result == clip.numpy()).all():
            continue
        np.testing.assert_array_equal(result, clip.numpy()[:, :, ::-1])
        mirrored += 1
    assert 150 < mirrored < 250


@pytest.mark.parametrize(
    "height, width, corners",
    [
        (32, 53, [(0, 0), (0, 10), (0, 21)]),
        (53, 32, [(0, 0), (10, 0), (21, 0)]),
        (32, 32, [(0, 0)] * 3),
        (36, 60, [(2, 0), (2, 14), (2, 28)]),
        (60, 36, [(0, 2), (14, 2), (28, 2)]),
    ],
)
def test_square_crops_lie_along_the_long_side(height, width, corners):
    frames = ramp(2, height, width)
    views = augment.square_crops(frames, 32, 3).numpy()
    assert views.dtype == np.float32
    for view, (top, left) in zip(views, corners, strict=True):
        np.testing.assert_array_equal(view, frames[:, top : top + 32, left : left + 32])
    np.testing.assert_array_equal(augment.square_crops(frames, 32, 1).numpy(), views[1:2])


def test_normalise_works_channel_by_channel():
    clip = np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 3)).astype("float32")
    result = augment.normalise(clip, (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)).numpy()
    for channel, (mean, std) in enumerate([(10, 2), (20, 4), (30, 8)]):
        np.testing.assert_allclose(result[..., channel], (clip[..., channel] - mean) / std, rtol=1e-6)


def test_square_crops_of_a_square_lie_side_by_side():
    views = augment.square_crops(ramp(2, 40, 40), 32, 3).numpy()
    corners = [tuple(view[0, 0, 0, :2].astype(int)) for view in views]
    assert corners == [(4, 0), (4, 4), (4, 8)]
