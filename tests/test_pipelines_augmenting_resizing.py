"""The one way in which frames change their size: its definition in loops, Pillow's pixels, and its cuts."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from resizing import assert_rounded, resized

from pipelines.augmenting.resizing import crop_and_resize, scale_short_side, square_views
from pipelines.bad_video import Unusable

SIDES = [(48, 70, 32), (70, 48, 60), (48, 70, 48), (100, 30, 7), (30, 31, 44), (64, 64, 16)]


def noise(num_frames, height, width):
    return np.random.default_rng(height * width).integers(0, 256, (num_frames, height, width, 3), np.uint8)


def exact_scaled(frames, size):
    height, width = frames.shape[1:3]
    return resized(frames, *(round(side * size / min(height, width)) for side in (height, width)))


@pytest.mark.parametrize("height, width, size", SIDES)
def test_scale_short_side_keeps_the_aspect(height, width, size):
    frames = noise(2, height, width)
    assert_rounded(scale_short_side(frames, size), exact_scaled(frames, size))
    one_frame = scale_short_side(tf.constant(frames[1]), size)
    np.testing.assert_array_equal(one_frame, scale_short_side(frames, size)[1])


@pytest.mark.parametrize("height, width, size", SIDES)
def test_the_pixels_are_those_of_pillow(height, width, size):
    frames = noise(1, height, width)
    scaled = np.asarray(scale_short_side(frames, size))[0]
    image = PIL.Image.fromarray(frames[0]).resize(scaled.shape[1::-1], PIL.Image.Resampling.BILINEAR)
    # Pillow rounds to whole levels between rows and columns, too.
    assert np.abs(scaled.astype(int) - np.asarray(image)).max() <= 1


def test_shrinking_is_antialiased():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, ::4] = 240
    for scaled in (
        scale_short_side(stripes, 16),
        square_views(stripes, 16, 1)[:, 0],
        crop_and_resize(stripes, (0, 0), (64, 64), 16),
    ):
        assert np.abs(np.asarray(scaled)[0, 1:-1].astype(int) - 60).max() < 20  # Without, it is 0 throughout.


@pytest.mark.parametrize("height, width, size", SIDES)
@pytest.mark.parametrize("crops", [1, 3])
def test_square_views_are_cut_from_the_scaled_frames(height, width, size, crops):
    frames = noise(2, height, width)
    views, exact = square_views(frames, size, crops).numpy(), exact_scaled(frames, size)
    assert views.shape == (2, crops, size, size, 3)
    free = np.array(exact.shape[1:3]) - size
    for crop, place in enumerate({1: [1], 3: [0, 1, 2]}[crops]):
        top, left = free * place // 2 * (free > 0)
        assert_rounded(views[:, crop], exact[:, top : top + size, left : left + size])


@pytest.mark.parametrize("height, width", [(48, 70), (70, 48), (48, 48), (48, 49), (49, 48), (30, 95)])
@pytest.mark.parametrize("places", ["ends", "thirds"])
def test_squares_of_a_short_side_of_its_own(height, width, places):
    frames, size, short_side = noise(2, height, width), 28, 32
    scale = short_side / min(height, width)
    scaled = round(height * scale), round(width * scale)
    for crops in (1, 3) if places == "ends" else (3,):
        views = square_views(frames, size, crops, short_side, places).numpy()
        exact = resized(frames, *scaled)
        for crop in range(crops):
            corner = [(side - size) // 2 for side in scaled]
            long = 0 if height > width else 1
            slack = scaled[long] - size
            if crops == 3:
                released = min(slack, round((slack + 1) / 3 * crop))  # MultiCrop
                corner[long] = [0, slack // 2, slack][crop] if places == "ends" else released
            top, left = corner
            assert_rounded(views[:, crop], exact[:, top : top + size, left : left + size])
            image = PIL.Image.fromarray(frames[0]).resize(scaled[::-1], PIL.Image.Resampling.BILINEAR)
            square = np.asarray(image.crop((left, top, left + size, top + size)), int)
            assert np.abs(views[0, crop] - square).max() <= 1
    graph = tf.function(
        lambda frames: square_views(frames, size, 3, short_side, places),
        [tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )
    np.testing.assert_array_equal(graph(frames), square_views(frames, size, 3, short_side, places))


def test_224_of_256_is_cut_in_the_middle_of_both_sides():
    frames = noise(1, 256, 340)
    np.testing.assert_array_equal(square_views(frames, 224, 1, 256)[:, 0], frames[:, 16:240, 58:282])
    left = [view[0, 0].tolist() for view in square_views(frames, 256, 3, places="thirds").numpy()[0]]
    assert left == frames[0, 0, [0, 28, 57]].tolist()  # The slack is 84; BAT's code has 85 / 3 and 170 / 3.
    square = noise(1, 256, 256)
    np.testing.assert_array_equal(square_views(square, 256, 3, places="thirds"), np.stack(3 * [square], 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((32, 1, 0, "thirds"), "Expected 1 or 3 crops with places='ends', or 3 with 'thirds'"),
        ((32, 3, 0, "corners"), "Received crops=3, places='corners'. Try: crops=3"),
        ((32, 3, 31), "at least size=32 pixels, or 0. Received short_side=31. Try: short_side=32"),
    ],
)
def test_squares_that_do_not_exist_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        square_views(noise(1, 40, 40), *arguments)


def test_square_views_of_frames_of_the_size_are_cut_as_they_are():
    for shape in ((32, 53), (53, 32), (32, 32)):
        frames = noise(2, *shape)
        views = square_views(frames, 32, 3).numpy()
        for crop in range(3):
            top, left = (np.array(shape) - 32) * crop // 2
            np.testing.assert_array_equal(views[:, crop], frames[:, top : top + 32, left : left + 32])
        np.testing.assert_array_equal(square_views(frames, 32, 1).numpy()[:, 0], views[:, 1])


def test_square_views_of_one_frame_and_in_a_graph_are_the_same():
    frames = noise(3, 40, 52)
    graph = tf.function(
        lambda frames: square_views(frames, 32, 3), [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    views = square_views(frames, 32, 3).numpy()
    np.testing.assert_array_equal(graph(frames), views)
    np.testing.assert_array_equal(square_views(frames[2], 32, 3), views[2])


def test_other_numbers_of_crops_are_refused():
    with pytest.raises(ValueError, match=r"Received crops=2, .*Try: crops=3"):
        square_views(noise(1, 40, 40), 32, 2)


def test_long_frames_take_no_memory():
    with pytest.raises(Unusable, match="1,048,576,000 pixels of a scaled frame"):
        scale_short_side(noise(1, 1, 4000)[0], 512)
    views = square_views(noise(1, 1, 4000), 512, 3)  # It computes the squares alone.
    assert views.shape == (1, 3, 512, 512, 3)


def test_a_box_of_the_wanted_size_is_cut_as_it_is():
    frames = noise(2, 30, 40)
    clip = crop_and_resize(frames, (3, 5), (16, 16), 16)
    np.testing.assert_array_equal(clip, frames[:, 3:19, 5:21])
    # This box is wide enough, but not high enough.
    assert_rounded(crop_and_resize(frames, (3, 5), (8, 16), 16), resized(frames[:, 3:11, 5:21], 16, 16))
    # Only its height shrinks; and pixels outside the box do not count.
    assert_rounded(crop_and_resize(frames, (3, 5), (24, 8), 16), resized(frames[:, 3:27, 5:13], 16, 16))


@pytest.mark.parametrize("level", [0, 255])
def test_resizing_keeps_within_the_range_of_grey_levels(level):
    frames = np.full((1, 50, 70, 3), level, np.uint8)
    for size in (20, 49, 90):
        assert (np.asarray(scale_short_side(frames, size)) == level).all()
        assert (square_views(frames, size, 3).numpy() == level).all()


def test_the_middle_of_a_box_stays_in_the_middle():
    rows, columns = np.mgrid[:60, :90]
    frames = np.stack([rows, columns, rows], -1)[None].astype(np.uint8)
    clip = crop_and_resize(frames, (10, 20), (30, 40), 16).numpy().astype(float)
    assert clip[0, [7, 8], 0, 0].mean() == pytest.approx(10 + 30 / 2 - 0.5, abs=0.5)
    assert clip[0, 0, [7, 8], 1].mean() == pytest.approx(20 + 40 / 2 - 0.5, abs=0.5)
