"""Changes of colour, against formulas in float64 and Python's own conversion to hues."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.augmenting import colour

GREY = (0.299, 0.587, 0.114)


def random_clip(height=12, width=10):
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def brightness(clip, factor):
    return clip * factor


def contrast(clip, factor):
    mean = np.mean(clip.astype(float) @ GREY)
    return mean + factor * (clip - mean)


def saturation(clip, factor):
    grey = (clip.astype(float) @ GREY)[..., None]
    return grey + factor * (clip - grey)


def hue(clip, turns):
    turned = np.empty(clip.shape)
    for place in np.ndindex(clip.shape[:3]):
        h, s, v = colorsys.rgb_to_hsv(*(clip[place] / 255))
        turned[place] = np.multiply(colorsys.hsv_to_rgb((h + turns) % 1, s, v), 255)
    return turned


ORACLES = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}


def rounded(exact):
    return np.floor(np.clip(exact, 0, 255) + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    "name, factor",
    [(name, factor) for name in list(ORACLES)[:3] for factor in (0.0, 0.3, 1.0, 1.4, 1.9)]
    + [("hue", turns) for turns in (-0.5, -0.1, 0.0, 0.07, 0.3)],
)
def test_adjustments_follow_their_formulas(name, factor):
    result = colour.ADJUSTMENTS[name](random_clip(), factor)
    assert result.dtype == tf.uint8
    exact = np.clip(ORACLES[name](random_clip(), factor), 0, 255)
    assert np.abs(result.numpy() - exact).max() <= 0.5 + 2e-3


@pytest.mark.parametrize("name", ORACLES)
def test_the_neutral_factor_changes_nothing(name):
    result = colour.ADJUSTMENTS[name](random_clip(), 0.0 if name == "hue" else 1.0)
    np.testing.assert_array_equal(result, random_clip())


def test_the_mean_of_contrast_is_that_of_the_whole_clip():
    clip = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (50, 150)])
    result = colour.adjust_contrast(clip, 0.5).numpy()
    assert result[0].max() == result[0].min() == 75 and result[1].min() == result[1].max() == 125


def test_jitter_makes_the_drawn_changes_in_the_drawn_order():
    orders = set()
    for number in range(12):
        seed = tf.constant([3, number])
        order, factors = (part.numpy() for part in colour.jitter_draws(seed))
        exact = random_clip()
        for change in order:
            exact = rounded(list(ORACLES.values())[change](exact, factors[change]))
        result = colour.colour_jitter(random_clip(), seed).numpy()
        # A half that is rounded the other way may grow in the changes that follow.
        assert np.abs(result.astype(int) - exact).max() <= 4
        assert (result == exact).mean() > 0.99
        orders.add(tuple(order))
        assert sorted(order) == [0, 1, 2, 3]
    assert len(orders) > 6


def test_factors_are_uniform_in_the_ranges_of_torchvision():
    strengths = {"brightness": 0.4, "contrast": 2.0, "saturation": 0.1, "hue": 0.2}
    graph = tf.function(lambda seed: colour.jitter_draws(seed, **strengths)[1])
    factors = np.stack([graph(tf.constant([1, number])) for number in range(600)])
    for drawn, (low, high) in zip(factors.T, [(0.6, 1.4), (0, 3), (0.9, 1.1), (-0.2, 0.2)], strict=True):
        counts, _ = np.histogram(drawn, 4, (low, high))
        assert counts.sum() == 600 and counts.min() > 110


def test_a_strength_of_zero_leaves_its_change_out():
    seed = (0, 0)
    result = colour.colour_jitter(random_clip(), seed, 0, 0, 0, 0)
    np.testing.assert_array_equal(result, random_clip())
    order, factors = colour.jitter_draws(seed, 0, 0.5, 0, 0)
    assert order.numpy().tolist() == [1]
    result = colour.colour_jitter(random_clip(), seed, 0, 0.5, 0, 0)
    np.testing.assert_array_equal(result, colour.adjust_contrast(random_clip(), factors[1]))


@pytest.mark.parametrize("name, strength", [("brightness", -0.1), ("saturation", -1), ("hue", 0.6)])
def test_strengths_outside_their_ranges_are_refused(name, strength):
    with pytest.raises(ValueError, match=rf"Expected {name} in \[0, .*Received {name}={strength}. Try"):
        colour.colour_jitter(random_clip(), (0, 0), **{name: strength})


def test_the_order_tells_nothing_about_the_factors():
    graph = tf.function(colour.jitter_draws)
    draws = [[part.numpy() for part in graph(tf.constant([2, number]))] for number in range(600)]
    for change in range(3):
        first = [factors[change] for order, factors in draws if order[0] == change]
        assert len(first) > 100 and np.mean(first) == pytest.approx(1, abs=0.08)
