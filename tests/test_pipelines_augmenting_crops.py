"""Clip operations, on frames that tell frame and position: each pixel is told from what was drawn."""

import numpy as np
import pytest
import tensorflow as tf
from resizing import assert_rounded, resized

from pipelines.augmenting import colour, crops, erasing, flips, rand_augment

SCALES = (1.0, 0.875, 0.75, 0.66)
ANY_CLIP = [tf.TensorSpec((None, None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)]

# Every operation on a clip as function (clip, seed) -> clip.
OPERATIONS = {
    "multi_scale_crop": lambda clip, seed: crops.multi_scale_crop(clip, 16, seed),
    "scale_jitter_crop": lambda clip, seed: crops.scale_jitter_crop(clip, 16, seed, (20, 30)),
    "random_resized_crop": lambda clip, seed: crops.random_resized_crop(clip, 16, seed),
    "random_flip": lambda clip, seed: flips.random_flip(clip, seed)[0],
    "erasing with noise": lambda clip, seed: erasing.random_erasing(clip, seed, 0.8),
    "erasing with a colour": lambda clip, seed: erasing.random_erasing(
        clip, seed, 0.8, colour=(9, 99, 199.6)
    ),
    "colour_jitter": colour.colour_jitter,
    "rand_augment": rand_augment.rand_augment,
}


def ramp(num_frames, height, width):
    """uint8 [T, H, W, 3] of (row, column, frame number)."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(height)[:, None]
    frames[..., 1] = np.arange(width)
    frames[..., 2] = np.arange(num_frames)[:, None, None]
    return frames


def draw(function, seeds):
    """Calls function(seed) in a graph with the seeds (7, 0), (7, 1), ...; returns arrays."""
    graph = tf.function(function, input_signature=[tf.TensorSpec((2,), tf.int32)])
    drawn = [graph(tf.constant([7, number])) for number in range(seeds)]
    return [np.stack(parts) for parts in zip(*drawn, strict=True)]


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


def multi_scale_boxes(height, width, size, draws):
    corners, extents = draw(lambda seed: crops.multi_scale_box((height, width), size, seed), draws)
    return [tuple(box) for box in np.concatenate([corners, extents], axis=1).tolist()]


@pytest.mark.parametrize("height, width", [(64, 100), (100, 64), (80, 80)])
def test_multi_scale_boxes_are_those_of_tsn_and_all_of_them(height, width):
    possible, drawn = tsn_boxes(height, width, 40), multi_scale_boxes(height, width, 40, 800)
    assert set(drawn) <= set(possible)
    assert {box[2:] for box in drawn} == {box[2:] for box in possible}
    assert len({box[2:] for box in drawn}) == 10
    certain = [next(iter(possible[box])) for box in drawn if len(possible[box]) == 1]
    assert set(certain) == set(range(13))
    assert max(np.bincount(certain)) < 3 * min(np.bincount(certain))


def test_lengths_within_three_pixels_of_the_size_become_the_size():
    # 64 * (1, .875, .75, .66) = 64, 56, 48, 42: 42 is 2 from 40, and 48 is too far from 45.
    assert {box[2] for box in multi_scale_boxes(64, 100, 40, 60)} == {64, 56, 48, 40}
    assert {box[2] for box in multi_scale_boxes(64, 100, 45, 60)} == {64, 56, 48, 42}


def test_a_box_never_exceeds_the_frame():
    # The short side 38 is within 3 pixels of 40, which would not fit.
    assert {box[2] for box in multi_scale_boxes(38, 60, 40, 60)} == {38, 33, 28, 25}


def test_a_box_is_never_empty():
    for seed in range(8):
        _, extent = crops.multi_scale_box((40, 60), 32, (0, seed), scales=(0.01, 0.02))
        assert extent.numpy().tolist() == [1, 1]


def test_scales_are_multiplied_as_in_python():
    # In single precision 0.7 * 90 is 63.
    assert int(0.7 * 90) == 62
    _, extents = draw(lambda seed: crops.multi_scale_box((90, 90), 20, seed, (0.7,)), 1)
    assert extents.tolist() == [[62, 62]]


def test_scale_jitter_boxes_are_squares_of_every_scale_at_every_place():
    corners, extents = draw(lambda seed: crops.scale_jitter_box((96, 100), 32, seed, (40, 44)), 1500)
    assert (extents[:, 0] == extents[:, 1]).all()
    lengths, counts = np.unique(extents[:, 0], return_counts=True)
    assert lengths.tolist() == sorted(round(32 * 96 / short) for short in range(40, 45))
    assert counts.max() < 1.3 * counts.min()
    for length in lengths:
        tops, lefts = corners[extents[:, 0] == length].T
        assert set(tops) == set(range(96 - length + 1))
        assert set(lefts) == set(range(100 - length + 1))


def test_a_scale_jitter_shorter_than_the_crop_is_refused():
    with pytest.raises(ValueError, match=r"Received short_sides=\(200, 320\), size=224.*Try: .*\(224, 280\)"):
        crops.scale_jitter_box((256, 340), 224, (0, 0), (200, 320))


def first_box(draws, height, width, area, aspect):
    """The rule of `random_resized_crop` in loops; None if no box fits."""
    for fraction, ratio, down, right in draws.astype(float):
        pixels = (area[0] + fraction * (area[1] - area[0])) * height * width
        shape = np.exp(np.log(aspect[0]) + ratio * (np.log(aspect[1]) - np.log(aspect[0])))
        box_height, box_width = round(np.sqrt(pixels / shape)), round(np.sqrt(pixels * shape))
        if box_height <= height and box_width <= width:
            corner = int(down * (height - box_height + 1)), int(right * (width - box_width + 1))
            return (*corner, box_height, box_width)
    return None


@pytest.mark.parametrize("height, width", [(60, 80), (80, 60), (20, 200)])
def test_random_resized_boxes_are_the_first_drawn_ones_that_fit(height, width):
    area, aspect = (0.08, 1.25), (3 / 4, 4 / 3)
    corners, extents = draw(lambda seed: crops.random_resized_box((height, width), seed), 200)
    short, missing = min(height, width), 0
    for number, box in enumerate(np.concatenate([corners, extents], axis=1).tolist()):
        draws = tf.random.stateless_uniform([10, 4], (7, number)).numpy()
        expected = first_box(draws, height, width, area, aspect)
        if expected is None:
            missing += 1
            expected = ((height - short) // 2, (width - short) // 2, short, short)
        assert tuple(box) == expected
    # In a frame as long as that hardly any box of the least areas fits, and in the others nearly all do.
    assert (missing > 0) == (width == 200)


@pytest.mark.parametrize("name, least, largest", [("area", 0, 1), ("area", 0.5, 0.4), ("aspect", -1, 1)])
def test_empty_ranges_are_refused(name, least, largest):
    for box in (crops.random_resized_box, erasing.erasing_box):
        with pytest.raises(ValueError, match=rf"Received {name}=\({least}, {largest}\). Try: {name}="):
            box((60, 80), (0, 0), **{name: (least, largest)})


@pytest.mark.parametrize("name", ["multi_scale", "scale_jitter", "random_resized"])
def test_every_pixel_of_a_crop_can_be_told_from_its_box(name):
    frames, arguments = ramp(3, 64, 100), {"scale_jitter": [(40, 60)]}.get(name, [])
    sizes = set()
    for number in range(12):
        seed = tf.constant([5, number])
        # The box of a random resized crop does not depend on the size.
        between = [] if name == "random_resized" else [40]
        box = getattr(crops, f"{name}_box")((64, 100), *between, seed, *arguments)
        (top, left), (height, width) = (part.numpy() for part in box)
        clip = getattr(crops, f"{name}_crop")(frames, 40, seed, *arguments)
        exact = resized(frames[:, top : top + height, left : left + width], 40, 40)
        assert_rounded(clip, exact)
        np.testing.assert_array_equal(clip[..., 2], np.broadcast_to([[[0]], [[1]], [[2]]], clip.shape[:3]))
        sizes.add((height, width))
    assert len(sizes) > 3


def test_about_half_of_the_clips_are_mirrored_always_whole_and_said_so():
    clip = tf.constant(ramp(4, 5, 6))
    clips, mirrored = draw(lambda seed: flips.random_flip(clip, seed), 400)
    for result, flipped in zip(clips, mirrored, strict=True):
        np.testing.assert_array_equal(result, clip.numpy()[:, :, ::-1] if flipped else clip.numpy())
    assert mirrored.dtype == bool and 150 < mirrored.sum() < 250


@pytest.mark.parametrize("fill", [None, (10.0, 99.6, 200.0)])
def test_erasing_covers_the_drawn_box_and_nothing_else(fill):
    clip = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    erased = 0
    for number in range(40):
        seed = tf.constant([2, number])
        (top, left), (height, width) = (part.numpy() for part in erasing.erasing_box((40, 60), seed, 0.5))
        result = erasing.random_erasing(clip, seed, 0.5, colour=fill).numpy()
        box = np.s_[:, top : top + height, left : left + width]
        covered, result[box] = result[box].copy(), clip[box]
        np.testing.assert_array_equal(result, clip)
        if height == 0:
            continue
        erased += 1
        assert 0.019 * 2400 < height * width < 0.35 * 2400 and 0.28 < width / height < 3.6
        if fill is None:
            np.testing.assert_array_equal(covered, np.broadcast_to(covered[:1], covered.shape))
            assert covered.std() > 40
        else:
            assert (covered == [10, 100, 200]).all()
    assert 10 < erased < 30


def test_erasing_happens_as_often_as_asked():
    for probability in (0.0, 0.25, 1.0):
        _, extents = draw(lambda seed, p=probability: erasing.erasing_box((60, 80), seed, p), 400)
        assert abs((extents[:, 0] > 0).mean() - probability) < 0.07 * (0 < probability < 1) + 1e-9
    with pytest.raises(ValueError, match=r"Received probability=1.5. Try"):
        erasing.erasing_box((60, 80), (0, 0), 1.5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_seed_fixes_everything_eagerly_and_in_a_graph_of_any_shape(name):
    operation = OPERATIONS[name]
    graph = tf.function(operation, input_signature=ANY_CLIP)
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 44, 3), dtype=np.uint8)
    results = [graph(clip, tf.constant([1, number])).numpy() for number in range(8)]
    np.testing.assert_array_equal(results[3], operation(clip, (1, 3)).numpy())
    np.testing.assert_array_equal(results[3], graph(clip, tf.constant([1, 3])).numpy())
    assert all(result.dtype == np.uint8 for result in results)
    assert any((result != results[0]).any() for result in results)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_frames_of_a_still_stay_alike(name):
    still = np.random.default_rng(0).integers(0, 256, (1, 32, 44, 3), dtype=np.uint8).repeat(3, axis=0)
    graph = tf.function(OPERATIONS[name], input_signature=ANY_CLIP)
    for number in range(12):
        result = graph(still, tf.constant([4, number])).numpy()
        np.testing.assert_array_equal(result, np.broadcast_to(result[:1], result.shape))


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_calls_python(name):
    graph = (
        tf.function(OPERATIONS[name], input_signature=ANY_CLIP).get_concrete_function().graph.as_graph_def()
    )
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert len(nodes) > 5
    assert not [node.op for node in nodes if "PyFunc" in node.op]
