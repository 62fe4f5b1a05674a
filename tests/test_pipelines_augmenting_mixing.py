"""Mixup and CutMix, on clips whose every pixel tells its clip, frame and place."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.augmenting import mixing
from pipelines.order import Part


def batch(count=6, height=10, width=14):
    """float32 [B, 2, H, W, 3], every number another one, and multi-hot labels [B, 4]."""
    shape = (count, 2, height, width, 3)
    labels = np.random.default_rng(0).integers(0, 2, (count, 4)).astype("float32")
    return np.arange(np.prod(shape), dtype="float32").reshape(shape), labels


def blended_labels(labels, kept):
    return [
        k * label + (1 - k) * partner for k, label, partner in zip(kept, labels, labels[::-1], strict=True)
    ]


def test_mixup_blends_each_clip_with_the_one_at_its_place_in_the_reversed_batch():
    clips, labels = batch()
    mixed, mixed_labels = mixing.mixup(clips, labels, (1, 2), alpha=0.8)
    kept = mixing.beta_draws((1, 2), 6, 0.8).numpy()
    for number in range(6):
        exact = kept[number] * clips[number] + (1 - kept[number]) * clips[5 - number]
        np.testing.assert_allclose(mixed[number], exact, rtol=1e-5)
    np.testing.assert_allclose(mixed_labels, blended_labels(labels, kept), rtol=1e-6)
    assert len(set(kept)) == 6


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_shares_are_of_a_beta_distribution(alpha):
    kept = mixing.beta_draws((3, 4), 20000, alpha).numpy()
    assert kept.min() >= 0 and kept.max() <= 1
    assert kept.mean() == pytest.approx(0.5, abs=0.01)
    assert kept.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("alpha", [1e-2, 1e-4])
def test_nearly_all_shares_of_a_tiny_alpha_are_near_an_end(alpha):
    kept = mixing.beta_draws((0, 0), 4000, alpha).numpy()
    # The density is alpha / (2 k (1 - k)) but at the ends; its integral from 0.01 to 0.99 is 4.6 alpha.
    assert (np.minimum(kept, 1 - kept) > 0.01).mean() == pytest.approx(4.6 * alpha, abs=0.01)
    assert kept.mean() == pytest.approx(0.5, abs=0.03)


def test_cutmix_puts_the_box_of_the_partner_into_all_frames_and_weighs_labels_by_its_area():
    clips, labels = batch(40)
    mixed, mixed_labels = (part.numpy() for part in mixing.cutmix(clips, labels, (5, 6), alpha=1.0))
    low, high = (part.numpy() for part in mixing.cutmix_boxes((10, 14), (5, 6), 40, 1.0))
    kept, areas = [], set()
    for number in range(40):
        (top, left), (bottom, right) = low[number], high[number]
        exact = clips[number].copy()
        exact[:, top:bottom, left:right] = clips[39 - number][:, top:bottom, left:right]
        np.testing.assert_array_equal(mixed[number], exact)
        areas.add((bottom - top) * (right - left))
        kept.append(1 - (exact != clips[number]).mean())
    np.testing.assert_allclose(mixed_labels, blended_labels(labels, kept), atol=1e-6)
    assert len(areas) > 20


def test_boxes_of_cutmix_follow_the_rule_of_its_authors():
    low, high = (part.numpy() for part in mixing.cutmix_boxes((30, 50), (7, 8), 500, 1.0))
    share_seed, place_seed = tf.unstack(tf.random.split((7, 8), 2))
    kept = mixing.beta_draws(share_seed, 500, 1.0).numpy()
    places = tf.random.stateless_uniform([500, 2], place_seed).numpy()
    for number in range(500):
        for axis, side in enumerate((30, 50)):
            extent, middle = int(side * np.sqrt(1 - kept[number])), int(places[number, axis] * side)
            start = middle - extent // 2
            assert (low[number, axis], high[number, axis]) == (max(start, 0), min(start + extent, side))
    assert (low >= 0).all() and (low <= high).all() and (low == 0).any() and (high == [30, 50]).any()


def which(clips, mixed):
    """Tells mixup, which changes every pixel, from CutMix, which takes pixels as they are."""
    if (mixed == clips).all():
        return "neither"
    return "cutmix" if np.isin(mixed, clips).all() else "mixup"


@pytest.mark.parametrize(
    "mixup_alpha, cutmix_alpha, probability, wanted",
    [
        (0.8, 1.0, 0.25, {"mixup", "cutmix"}),
        (0.8, 1.0, 0.0, {"mixup"}),
        (0.8, 1.0, 1.0, {"cutmix"}),
        (0.8, 0.0, 0.5, {"mixup"}),
        (0.0, 1.0, 0.5, {"cutmix"}),
        (0.0, 0.0, 0.5, {"neither"}),
    ],
)
def test_mix_chooses_between_those_that_are_wanted(mixup_alpha, cutmix_alpha, probability, wanted):
    clips, labels = batch(4, 7, 9)
    clips = clips**1.01  # Sums of two are none of them.
    graph = tf.function(
        lambda seed: mixing.mix(clips, labels, seed, mixup_alpha, cutmix_alpha, probability)[0]
    )
    chosen = [which(clips, graph(tf.constant([2, number])).numpy()) for number in range(80)]
    assert set(chosen) - {"neither"} == wanted - {"neither"}
    assert chosen.count("neither") in (range(5) if wanted != {"neither"} else [80])
    if len(wanted) == 2:
        assert 10 < chosen.count("cutmix") < 32


def test_a_graph_of_any_shape_does_the_same():
    clips, labels = batch(5)
    signature = [
        tf.TensorSpec((None,) * 4 + (3,)),
        tf.TensorSpec((None, None)),
        tf.TensorSpec((2,), tf.int32),
    ]
    graph = tf.function(mixing.mix, input_signature=signature)
    for number in range(4):
        seed = tf.constant([9, number])
        for ours, expected in zip(graph(clips, labels, seed), mixing.mix(clips, labels, seed), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_numbers_outside_their_ranges_are_refused():
    clips, labels = batch(2)
    with pytest.raises(ValueError, match=r"Received alpha=0. Try: alpha=0.8"):
        mixing.mixup(clips, labels, (0, 0), alpha=0)
    with pytest.raises(ValueError, match=r"Received alpha=-1. Try"):
        mixing.cutmix(clips, labels, (0, 0), alpha=-1)
    with pytest.raises(ValueError, match=r"Received mixup_alpha=-0.1, cutmix_alpha=1.0, .*=0.5. Try"):
        mixing.mix(clips, labels, (0, 0), mixup_alpha=-0.1)
    with pytest.raises(ValueError, match=r"switch_probability=2. Try"):
        mixing.mix(clips, labels, (0, 0), switch_probability=2)


@pytest.mark.parametrize("function", [mixing.mixup, mixing.cutmix, mixing.mix])
def test_parts_of_a_batch_are_mixed_as_the_whole(function):
    clips, labels = np.random.default_rng(0).random((8, 2, 6, 6, 3), np.float32), np.eye(8, dtype="f4")
    clips, labels = tf.constant(clips), tf.constant(labels)
    whole = function(clips, labels, (3, 4))
    for number in range(2):
        places = Part(number, 2).places(8, mirrored=True)
        own = function(tf.gather(clips, places), tf.gather(labels, places), (3, 4), among=(places, 8))
        for left, right in zip(own, whole, strict=True):
            np.testing.assert_array_equal(left, tf.gather(right, places))
