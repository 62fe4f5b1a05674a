"""Labels of clips: numbers or vectors, by time, and mirrored where a flip changes what is shown."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.labels import check_flip, clip_labels
from pipelines.manifest import Label, Manifest, Video

CLASSES = ("pulling left", "pulling right", "falling")
MIRRORED = (1, 0, 2)


def labels(videos, row, seconds=(0.0,), flips=(False,), mirrored=(), vectors=False):
    manifest = Manifest(tuple(Video("v.mp4", video) for video in videos), CLASSES, mirrored=mirrored)
    of_clip = tf.function(clip_labels(manifest, vectors), autograph=False)
    times = None if seconds is None else tf.constant(seconds, tf.float32)
    result = of_clip(tf.constant(row, tf.int64), times, tf.constant(flips))
    return result.dtype.name, result.numpy().tolist()


def test_one_label_a_video_is_a_number_for_each_clip():
    videos = [(Label(2),), (Label(0),)]
    assert labels(videos, 0, flips=(False, True)) == ("int32", [2, 2])
    assert labels(videos, 1, flips=(False, True)) == ("int32", [0, 0])
    assert labels(videos, 1, flips=(False, True), mirrored=MIRRORED) == ("int32", [0, 1])


def test_it_becomes_a_vector_where_clips_are_mixed():
    result = labels([(Label(0),)], 0, flips=(True, False), mirrored=MIRRORED, vectors=True)
    assert result == ("float32", [[0, 1, 0], [1, 0, 0]])


def test_several_labels_are_a_vector():
    videos = [(Label(0), Label(2)), (), (Label(2), Label(2))]
    assert labels(videos, 0) == ("float32", [[1, 0, 1]])
    assert labels(videos, 0, flips=(True, False), mirrored=MIRRORED)[1] == [[0, 1, 1], [1, 0, 1]]
    assert labels(videos, 1, flips=(False, True))[1] == [[0, 0, 0]] * 2
    assert labels(videos, 2)[1] == [[0, 0, 1]]


def test_a_label_counts_while_its_span_lasts():
    videos = [(Label(0, 1.0, 2.0), Label(1, None, 1.5), Label(2, 4.0))]
    assert labels(videos, 0, seconds=(0.0, 0.5))[1] == [[0, 1, 0]]
    assert labels(videos, 0, seconds=(0.5, 1.0))[1] == [[1, 1, 0]]
    assert labels(videos, 0, seconds=(1.5, 1.9))[1] == [[1, 0, 0]]
    assert labels(videos, 0, seconds=(2.0, 3.0))[1] == [[0, 0, 0]]
    assert labels(videos, 0, seconds=(2.0, 9.0))[1] == [[0, 0, 1]]
    assert labels(videos, 0, seconds=None)[1] == [[1, 1, 1]]


def test_ends_of_spans_meet_the_frames_shown_then():
    frames = np.arange(10) / 10  # 0.7 is a little less in single precision, 0.6 a little more.
    for number in range(1, 9):
        second = number / 10
        videos = [(Label(0, second, second + 0.1), Label(1, second - 0.1, second), Label(2, second, second))]
        assert labels(videos, 0, seconds=frames[number : number + 1])[1] == [[1, 0, 1]]


def test_flips_are_refused_where_left_is_not_right_unless_there_is_a_map():
    videos = (Video("v.mp4", (Label(0),)),)
    check_flip(Manifest(videos, CLASSES), flip=True)
    check_flip(Manifest(videos, CLASSES, directional=True), flip=False)
    check_flip(Manifest(videos, CLASSES, directional=True, mirrored=MIRRORED), flip=True)
    with pytest.raises(
        ValueError, match=r"Expected no flips.*Received flip=True and no map.*Try: flip=False"
    ):
        check_flip(Manifest(videos, CLASSES, directional=True), flip=True)


def test_labels_at_random_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    for _ in range(20):
        video = tuple(
            Label(int(number), float(start), float(start + length))
            for number, start, length in generator.uniform(0, (3, 5, 2), (generator.integers(5), 3))
        )
        seconds, flip = generator.uniform(0, 6, 4).astype(np.float32), bool(generator.integers(2))
        expected = [0.0] * 3
        for number, start, end in video:
            if any(start <= second < end for second in seconds.tolist()):
                expected[MIRRORED[number] if flip else number] = 1.0
        _, (found,) = labels([video, (Label(0), Label(1))], 0, seconds, (flip,), MIRRORED)
        assert found == expected
