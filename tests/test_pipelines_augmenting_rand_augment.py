"""RandAugment for clips, against Pillow: frames one above the other make one image of the whole clip."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from pipelines.augmenting import rand_augment
from pipelines.augmenting.rand_augment import OPERATIONS

NEAREST = Image.Resampling.NEAREST
HEIGHT, WIDTH = 36, 50


def smooth_clip(low=20, high=230):
    """uint8 [3, 36, 50, 3] of waves between two levels: neither all levels nor the same in each channel."""
    frames, rows, columns, channels = np.ogrid[:3, :HEIGHT, :WIDTH, :3]
    waves = np.sin(frames + rows / (7 + channels) + columns / 5) * np.cos(rows / 9 - columns / (4 + channels))
    return np.round(low + 5 * channels + (high - low - 10) * (waves + 1) / 2).astype(np.uint8)


def each_frame(function):
    return lambda clip, level: np.stack([np.asarray(function(Image.fromarray(f), level)) for f in clip])


def whole_clip(function):
    def tall(clip, level):
        image = Image.fromarray(clip.reshape(-1, *clip.shape[2:]))
        return np.asarray(function(image, level)).reshape(clip.shape)

    return tall


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, NEAREST)


# How Pillow does each operation, and by how many levels it may differ: it cuts off, and it rounds the mean
# of contrast and each pixel's grey before it goes on.
PILLOW = {
    "identity": (each_frame(lambda image, level: image), 0),
    "shear_x": (each_frame(lambda image, level: affine(image, (1, level, 0, 0, 1, 0))), 0),
    "shear_y": (each_frame(lambda image, level: affine(image, (1, 0, 0, level, 1, 0))), 0),
    "translate_x": (each_frame(lambda image, x: affine(image, (1, 0, -int(x * WIDTH), 0, 1, 0))), 0),
    "translate_y": (each_frame(lambda image, x: affine(image, (1, 0, 0, 0, 1, -int(x * HEIGHT)))), 0),
    "rotate": (each_frame(lambda image, level: image.rotate(level, NEAREST)), 0),
    "brightness": (whole_clip(lambda image, x: ImageEnhance.Brightness(image).enhance(1 + x)), 1),
    "colour": (whole_clip(lambda image, x: ImageEnhance.Color(image).enhance(1 + x)), 2),
    "contrast": (whole_clip(lambda image, x: ImageEnhance.Contrast(image).enhance(1 + x)), 2),
    "sharpness": (each_frame(lambda image, x: ImageEnhance.Sharpness(image).enhance(1 + x)), 2),
    "posterize": (whole_clip(lambda image, x: ImageOps.posterize(image, 8 - round(x))), 0),
    "solarize": (whole_clip(lambda image, x: ImageOps.solarize(image, 255 - x)), 0),
    "autocontrast": (whole_clip(lambda image, x: ImageOps.autocontrast(image)), 1),
    "equalize": (whole_clip(lambda image, x: ImageOps.equalize(image)), 0),
}


def test_the_operations_are_the_fourteen_of_the_paper():
    assert list(PILLOW) == list(OPERATIONS)


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_operations_are_those_of_pillow(name, share):
    operation, (pillow, tolerance) = OPERATIONS[name], PILLOW[name]
    for sign in (1.0, -1.0)[: 1 + operation.signed]:
        level = sign * share * operation.strongest
        result = operation.apply(tf.constant(smooth_clip()), level).numpy()
        assert result.dtype == np.uint8
        difference = np.abs(result.astype(int) - pillow(smooth_clip(), level))
        # Pillow moves pixels in fixed-point numbers, and a few lie on an edge between two.
        moved = name in ("shear_x", "shear_y", "rotate")
        assert (difference > tolerance).mean() <= (0.004 if moved else 0)


@pytest.mark.parametrize("factor", [0.1, 0.73, 1.27, 1.9])
def test_sharpness_follows_its_formula(factor):
    clip = smooth_clip()
    exact = clip.astype(float)
    for frame, row, column in np.ndindex(3, HEIGHT - 2, WIDTH - 2):
        window = clip[frame, row : row + 3, column : column + 3].astype(float)
        smooth = (window.sum((0, 1)) + 4 * window[1, 1]) / 13
        exact[frame, row + 1, column + 1] = smooth + factor * (window[1, 1] - smooth)
    result = rand_augment.adjust_sharpness(clip, factor).numpy()
    assert np.abs(result - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3


def test_the_levels_are_those_of_torchvision():
    # Magnitude 9 of 30 in its table for an image 340 pixels wide.
    levels = {name: 0.3 * operation.strongest for name, operation in OPERATIONS.items()}
    assert levels["shear_x"] == levels["shear_y"] == pytest.approx(0.09)
    assert levels["translate_x"] == levels["translate_y"] == pytest.approx(0.3 * 150 / 331)
    assert levels["rotate"] == 9 and 255 - levels["solarize"] == pytest.approx(178.5)
    assert 8 - round(levels["posterize"]) == 7
    assert all(
        levels[name] == pytest.approx(0.27) for name in ("brightness", "colour", "contrast", "sharpness")
    )
    unsigned = [name for name, operation in OPERATIONS.items() if not operation.signed]
    assert unsigned == ["identity", "posterize", "solarize", "autocontrast", "equalize"]


@pytest.mark.parametrize("width, height", [(331, 662), (340, 256)])
def test_translations_are_whole_pixels(width, height):
    clip = np.zeros((1, height, width, 3), np.uint8)
    clip[0, 0, 0] = 255
    moved = rand_augment.translate(clip, 150 / 331, 150 / 331).numpy()
    assert np.argwhere(moved[0, ..., 0]).tolist() == [[int(150 * height / 331), int(150 * width / 331)]]


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_clip_of_one_level_has_nothing_to_stretch(level):
    clip = np.full((2, 5, 6, 3), level, np.uint8)
    np.testing.assert_array_equal(rand_augment.autocontrast(clip), clip)
    np.testing.assert_array_equal(rand_augment.equalize(clip), clip)


def test_statistics_are_those_of_the_whole_clip():
    dark, bright = smooth_clip(0, 100)[:1], smooth_clip(150, 250)[:1]
    together = np.concatenate([dark, bright])
    for operation in (rand_augment.autocontrast, rand_augment.equalize):
        result = operation(together).numpy().astype(int)
        assert result[0].max() < result[1].min()


def test_layers_are_the_drawn_operations_one_after_another():
    clip, table = smooth_clip(), list(OPERATIONS.values())
    for number in range(15):
        seed = tf.constant([8, number])
        expected = tf.constant(clip)
        for place, sign in zip(
            *(part.numpy() for part in rand_augment.rand_augment_draws(seed, 3)), strict=True
        ):
            level = table[place].strongest * 12 / 30 * (sign if table[place].signed else 1)
            expected = table[place].apply(expected, level)
        result = rand_augment.rand_augment(clip, seed, num_layers=3, magnitude=12)
        np.testing.assert_array_equal(result, expected)


def test_operations_and_signs_are_drawn_evenly():
    graph = tf.function(lambda seed: rand_augment.rand_augment_draws(seed, 2))
    numbers, signs = (
        np.stack(p) for p in zip(*(graph(tf.constant([1, n])) for n in range(1400)), strict=True)
    )
    counts = np.bincount(numbers.ravel(), minlength=14)
    assert len(counts) == 14 and counts.min() > 150 and counts.max() < 260
    assert set(signs.ravel()) == {-1.0, 1.0} and abs(signs.mean()) < 0.08
    assert len({tuple(pair) for pair in numbers}) > 150


def test_no_layers_are_no_change():
    np.testing.assert_array_equal(
        rand_augment.rand_augment(smooth_clip(), (0, 0), num_layers=0), smooth_clip()
    )


@pytest.mark.parametrize("num_layers, magnitude", [(-1, 9), (2, -1), (2, 31)])
def test_numbers_outside_their_ranges_are_refused(num_layers, magnitude):
    with pytest.raises(ValueError, match=rf"Received num_layers={num_layers}, magnitude={magnitude}. Try"):
        rand_augment.rand_augment(smooth_clip(), (0, 0), num_layers, magnitude)


def test_solarize_inverts_from_the_threshold_on():
    clip = np.repeat(np.array([0, 127, 128, 129, 255], np.uint8), 3).reshape(1, 1, 5, 3)
    for threshold, expected in (
        (128, [0, 127, 127, 126, 0]),
        (127.5, [0, 127, 127, 126, 0]),
        (256, clip[0, 0, :, 0]),
    ):
        assert rand_augment.solarize(clip, threshold).numpy()[0, 0, :, 0].tolist() == list(expected)


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 2, 5, 3), (2, 5, 1, 3)])
def test_a_clip_that_is_all_border_is_not_sharpened(shape):
    clip = tf.constant(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
    np.testing.assert_array_equal(rand_augment.adjust_sharpness(clip, 1.9), clip)
