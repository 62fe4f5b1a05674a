"""Frame numbers of clips, against the rules of the papers' code written as plain loops."""

import fractions
import itertools

import numpy as np
import pytest
import tensorflow as tf

from pipelines.clips import (
    SAMPLING,
    STARTS,
    candidates,
    consensus_training_clips,
    dense_test_clips,
    dense_training_clip,
    segment_test_clips,
    segment_training_clip,
)

LENGTHS = (1, 2, 3, 7, 8, 9, 31, 63, 64, 65, 66, 100, 199, 300)


def draws(index, clip_frames):
    return np.random.default_rng(index).integers(2**31, size=clip_frames)


def dense_oracle(num_frames, clip_frames, start, window=64):
    return [(start + i * (window // clip_frames)) % num_frames for i in range(clip_frames)]


@pytest.mark.parametrize("clip_frames", [4, 5, 8, 32, 64])
def test_dense_training_clips_are_evenly_spread_from_every_possible_start(clip_frames):
    for num_frames in (1, 5, 64, 70):
        possible = [dense_oracle(num_frames, clip_frames, s) for s in range(max(1, num_frames - 63))]
        drawn = {
            tuple(dense_training_clip(num_frames, clip_frames, draws(i, clip_frames))) for i in range(80)
        }
        assert drawn == {tuple(clip) for clip in possible}


@pytest.mark.parametrize("clips", [1, 2, 3, 10])
@pytest.mark.parametrize("clip_frames", [8, 32])
def test_dense_test_clips_start_at_evenly_spaced_frames(clips, clip_frames):
    for num_frames in LENGTHS:
        last = max(1, num_frames - 63) - 1
        starts = [last // 2] if clips == 1 else [c * last // (clips - 1) for c in range(clips)]
        expected = [dense_oracle(num_frames, clip_frames, start) for start in starts]
        assert dense_test_clips(num_frames, clip_frames, clips).tolist() == expected


def test_dense_clips_of_a_short_video_wrap_around():
    assert dense_training_clip(10, 8, draws(0, 8)).tolist() == [0, 8, 6, 4, 2, 0, 8, 6]
    assert dense_test_clips(10, 8, clips=2).tolist() == [[0, 8, 6, 4, 2, 0, 8, 6]] * 2


def test_dense_clips_take_another_window():
    assert dense_test_clips(20, 4, clips=3, window=16).tolist() == [
        [0, 4, 8, 12],
        [2, 6, 10, 14],
        [4, 8, 12, 16],
    ]


LENGTHS_OF_BAT = (*range(1, 401), 1000)


@pytest.mark.parametrize("clips", [1, 3, 10])
def test_bats_starts_are_the_middles_of_equal_parts(clips):
    span = 8 * 7 + 1
    for num_frames in LENGTHS_OF_BAT:
        starts = [0] * clips
        if num_frames > clips + span - 1:  # With ten clips, all are 0 of 66 frames and fewer.
            tick = fractions.Fraction(num_frames - span + 1, clips)
            starts = [int(tick / 2 + tick * j) for j in range(clips)]
        expected = []
        for frame in starts:
            clip = []
            for _ in range(8):  # BAT's own loop goes on by 8 frames and stops at the last one.
                clip.append(frame)
                frame = min(frame + 8, num_frames - 1)
            expected.append(clip)
        found = dense_test_clips(num_frames, 8, clips, 57, "hold", 8, "middles")
        assert found.tolist() == expected, num_frames
    assert dense_test_clips(66, 8, 10, 57, "hold", 8, "middles")[:, 0].tolist() == [0] * 10
    assert dense_test_clips(67, 8, 10, 57, "hold", 8, "middles")[:, 0].max() > 0


def test_bats_floats_are_a_frame_earlier_for_few_starts():
    earlier = []
    for num_frames in range(67, 5000):
        tick = (num_frames - 57 + 1) / 10.0
        released = [int(tick / 2.0 + tick * j) for j in range(10)]
        exact = dense_test_clips(num_frames, 1, 10, 57, "hold", 0, "middles")[:, 0]
        earlier += (exact - released).tolist()
    assert set(earlier) == {0, 1} and 0.004 < np.mean(earlier) < 0.006


def test_bats_training_clips_start_wherever_57_frames_fit():
    for num_frames in (1, 30, 56, 57, 58, 60):
        possible = range(max(1, num_frames - 57 + 1))
        drawn = {
            tuple(dense_training_clip(num_frames, 8, draws(i, 8), 57, "hold", stride=8).tolist())
            for i in range(60)
        }
        assert drawn == {tuple(min(s + 8 * i, num_frames - 1) for i in range(8)) for s in possible}


@pytest.mark.parametrize("clip_frames", [8, 32])
def test_fairs_starts_go_over_the_whole_video_and_wrap(clip_frames):
    for num_frames in range(1, 401):
        expected = []
        for j in range(10):
            start, clip = int(fractions.Fraction(num_frames * j, 10)), []
            for consecutive in range(0, 64, 64 // clip_frames):
                clip.append((start + consecutive) % num_frames)
            expected.append(clip)
        assert dense_test_clips(num_frames, clip_frames, starts="fair").tolist() == expected, num_frames
    assert dense_test_clips(300, 8, starts="fair")[9].tolist() == [270, 278, 286, 294, 2, 10, 18, 26]


@pytest.mark.parametrize(
    ("starts", "short", "words"),
    [
        ("odd", "loop", "Received 'odd' and 'loop'. Try: starts='even'"),
        ("fair", "hold", "short='loop' with 'fair'.*Received 'fair' and 'hold'"),
    ],
)
def test_unknown_starts_and_those_that_cannot_hold_are_refused(starts, short, words):
    with pytest.raises(ValueError, match=words):
        dense_test_clips(100, 8, starts=starts, short=short)


@pytest.mark.parametrize(("window", "stride"), [(56, 8), (64, 10), (64, -1), (7, 0), (7, 1)])
def test_a_stride_has_to_fit_into_the_window(window, stride):
    words = rf"Received window={window}, clip_frames=8, stride={stride}\. Try: window=\d+ or more"
    for sample in (dense_test_clips, lambda n, t, **more: dense_training_clip(n, t, draws(0, t), **more)):
        with pytest.raises(ValueError, match=words):
            sample(100, 8, window=window, stride=stride)
    assert dense_test_clips(57, 8, 1, 57, stride=8).tolist() == [list(range(0, 57, 8))]


def test_segment_training_clips_take_every_frame_of_every_segment():
    seen = [set() for _ in range(8)]
    for index in range(200):
        clip = segment_training_clip(43, 8, draws(index, 8))
        for segment, frame in enumerate(clip.tolist()):
            seen[segment].add(frame)
    assert seen == [set(range(5 * segment, 5 * segment + 5)) for segment in range(8)]  # 43 // 8 = 5


def test_segments_are_drawn_independently():
    clips = [segment_training_clip(160, 8, draws(i, 8)) for i in range(20)]
    assert any(len(set(clip % 20)) > 1 for clip in clips)


def test_segment_training_clips_of_fewer_frames_than_segments_repeat_the_first():
    for num_frames in range(1, 8):
        assert segment_training_clip(num_frames, 8, draws(0, 8)).tolist() == [0] * 8


@pytest.mark.parametrize("clip_frames", [3, 8, 14, 16])
def test_segment_test_clips(clip_frames):
    for num_frames in LENGTHS:
        tick = fractions.Fraction(num_frames, clip_frames)
        middle = [int(tick / 2 + tick * i) for i in range(clip_frames)]
        start = [int(tick * i) for i in range(clip_frames)]
        assert segment_test_clips(num_frames, clip_frames).tolist() == [middle]
        assert segment_test_clips(num_frames, clip_frames, clips=2).tolist() == [middle, start]
        for clips in (3, 5, 10):
            expected = [
                [int(tick * fractions.Fraction(2 * c + 1, 2 * clips) + tick * i) for i in range(clip_frames)]
                for c in range(clips)
            ]
            assert segment_test_clips(num_frames, clip_frames, clips).tolist() == expected


def test_segment_test_clips_of_8_and_16_frames_are_those_of_the_released_floats():
    for clip_frames in (8, 16):
        for num_frames in range(1, 1000):
            tick = num_frames / clip_frames
            middle, start = ([int(tick * k + tick * i) for i in range(clip_frames)] for k in (0.5, 0))
            assert segment_test_clips(num_frames, clip_frames, clips=2).tolist() == [middle, start]


@pytest.mark.parametrize("name", SAMPLING)
def test_every_frame_number_lies_in_the_video(name):
    train, test = SAMPLING[name]
    for num_frames in range(1, 201):
        for clip_frames in (1, 8, 32):
            clips = [train(num_frames, clip_frames, draws(num_frames, clip_frames))]
            for count in (1, 2, 3, 10):
                clips += list(test(num_frames, clip_frames, count))
            assert all(clip.shape == (clip_frames,) for clip in clips)
            assert all(clip.min() >= 0 and clip.max() < num_frames for clip in clips)


@pytest.mark.parametrize("clip_frames", [1, 5, 8, 32])
def test_graphs_choose_the_same_frames(clip_frames):
    def all_of(num_frames, numbers):
        return [
            dense_training_clip(num_frames, clip_frames, numbers),
            dense_training_clip(num_frames, clip_frames, numbers, window=40, short="hold"),
            segment_training_clip(num_frames, clip_frames, numbers),
            dense_training_clip(num_frames, clip_frames, numbers, window=70, stride=2),
            *(
                dense_test_clips(num_frames, clip_frames, clips, 70, stride=stride, starts=starts)
                for starts, stride, clips in itertools.product(STARTS, (0, 2), (1, 3, 10))
            ),
            *(segment_test_clips(num_frames, clip_frames, clips) for clips in (1, 2, 3, 10)),
        ]

    types = [tf.TensorSpec([], tf.int64), tf.TensorSpec([clip_frames], tf.int64)]
    in_graph = tf.function(all_of, input_signature=types, autograph=False)
    for num_frames in range(1, 301, 3):
        numbers = draws(num_frames, clip_frames)
        for graph, array in zip(in_graph(num_frames, numbers), all_of(num_frames, numbers), strict=True):
            np.testing.assert_array_equal(graph, array)


def test_fair_samples_every_second_or_every_eighth_of_64_consecutive_frames():
    start = 1000 % (300 - 63)
    first = np.array([1000] + [0] * 31)
    assert dense_training_clip(300, 32, first).tolist() == list(range(start, start + 64, 2))
    assert dense_training_clip(300, 8, first[:8]).tolist() == list(range(start, start + 64, 8))
    assert dense_test_clips(300, 32)[:, 0].tolist() == [0, 26, 52, 78, 104, 131, 157, 183, 209, 236]


def test_a_short_video_may_hold_its_last_frame():
    zeros = np.zeros(8, int)
    assert dense_training_clip(10, 8, zeros, short="hold").tolist() == [0, 8, 9, 9, 9, 9, 9, 9]
    assert dense_test_clips(20, 4, clips=2, short="hold").tolist() == [[0, 16, 19, 19]] * 2
    with pytest.raises(ValueError, match=r"Expected short to be one of loop, hold. Received 'mirror'.*Try"):
        dense_training_clip(10, 8, zeros, short="mirror")


def test_a_clip_can_choose_from_a_part_of_the_video():
    seconds = np.arange(300) / 30
    assert candidates(seconds).tolist() == list(range(300))
    assert candidates(seconds, start=2.0).tolist() == list(range(60, 300))
    assert candidates(seconds, end=2.0).tolist() == list(range(60))
    assert candidates(seconds, start=2.01, end=2.1).tolist() == [61, 62]
    assert candidates(seconds, start=10.0).tolist() == []
    assert candidates(seconds, start=-5, end=99).tolist() == list(range(300))
    assert candidates(seconds[:1], fps=5).tolist() == [0]
    assert candidates(seconds[:2], fps=5).tolist() == [0]
    assert candidates(seconds, start=2.0, end=2.01, fps=5).tolist() == [60]


@pytest.mark.parametrize("fps", [1, 4.5, 7, 29.97, 30, 60])
def test_a_clip_can_choose_at_a_frame_rate(fps):
    generator = np.random.default_rng(int(fps))
    for seconds in (np.arange(100) / 30, np.sort(generator.uniform(0, 5, 80)), np.array([0.0, 0.1, 9.0])):
        chosen = candidates(seconds, fps=fps).tolist()
        nearest, k = [], 0
        end = seconds[-1] + (seconds[-1] - seconds[-2]) / 2
        while seconds[0] + k / fps <= end:  # The nearest frame, the earlier one of two.
            nearest.append(int(np.argmin(np.round(np.abs(seconds - seconds[0] - k / fps), 9))))
            k += 1
        assert chosen == sorted(set(nearest))


@pytest.mark.parametrize("decimals", [3, 5, 15])
def test_the_files_own_rate_and_any_above_it_keep_every_frame(decimals):
    for rate in (12.5, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60):
        for num_frames in range(2, 600, 7):
            seconds = np.round(np.arange(num_frames) / rate, decimals)  # Matroska rounds to milliseconds.
            for fps in (rate, round(rate, 2), 1.1 * rate, 1.77 * rate, 10 * rate):
                np.testing.assert_array_equal(candidates(seconds, fps=fps), np.arange(num_frames))


@pytest.mark.parametrize("num_frames, clip_frames", [(0, 8), (-1, 8), (10, 0)])
@pytest.mark.parametrize("name", SAMPLING)
def test_empty_videos_and_clips_are_refused(name, num_frames, clip_frames):
    train, test = SAMPLING[name]
    for sample in (
        lambda: train(num_frames, clip_frames, draws(0, 1)),
        lambda: test(num_frames, clip_frames),
    ):
        with pytest.raises(
            ValueError, match=rf"Received num_frames={num_frames}, clip_frames={clip_frames}.*Try"
        ):
            sample()


def test_a_window_shorter_than_the_clip_is_refused():
    with pytest.raises(ValueError, match=r"Received window=64, clip_frames=65.*Try: window=65"):
        dense_test_clips(100, 65)


@pytest.mark.parametrize("frames", [5, 20, 21, 23, 24, 64, 115])
def test_clips_of_a_consensus_start_in_parts_of_their_own(frames):
    """As the released code of BAT draws them: its loop, with our draws."""
    options, seen = {"clips": 3, "window": 20, "short": "hold"}, set()
    for seed in range(300):
        draws = np.random.default_rng(seed).integers(2**31, size=12)
        found = consensus_training_clips(frames, 12, draws, **options)
        part, wanted = (frames - 20 + 1) // 3, []
        for c in range(3):
            if part > 0:
                start = c * part + draws[4 * c] % part
            else:
                start = draws[4 * c] % (frames - 20 + 1) if frames > 20 else 0
            wanted += [min(start + 5 * i, frames - 1) for i in range(4)]
        np.testing.assert_array_equal(found, wanted)
        seen.update(found.reshape(3, 4)[:, 0])
        if seed < 3:
            number = tf.constant(frames, tf.int64)
            graph = tf.function(consensus_training_clips, autograph=False)
            np.testing.assert_array_equal(graph(number, 12, draws, **options), wanted)
    assert seen == set(range(max(1, (frames - 19) // 3 * 3 or frames - 19)))


def test_a_consensus_of_one_clip_is_the_clip():
    draws = np.arange(50, 54)
    for frames in (5, 20, 64):
        alone = dense_training_clip(frames, 4, draws, window=20)
        found = consensus_training_clips(frames, 4, draws, clips=1, window=20)
        np.testing.assert_array_equal(found, alone)
