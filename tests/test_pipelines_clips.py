"""Frame numbers of clips, against the rules of the papers' code written as plain loops."""

import pytest

from pipelines.clips import (
    SAMPLING,
    clip_generator,
    dense_test_clips,
    dense_training_clip,
    segment_test_clips,
    segment_training_clip,
)

LENGTHS = (1, 2, 3, 7, 8, 9, 31, 63, 64, 65, 66, 100, 199, 300)


def dense_oracle(num_frames, clip_frames, start, window=64):
    return [(start + i * (window // clip_frames)) % num_frames for i in range(clip_frames)]


@pytest.mark.parametrize("clip_frames", [4, 5, 8, 32, 64])
def test_dense_training_clips_are_evenly_spread_from_every_possible_start(clip_frames):
    for num_frames in (1, 5, 64, 70):
        possible = [dense_oracle(num_frames, clip_frames, s) for s in range(max(1, num_frames - 63))]
        drawn = {
            tuple(dense_training_clip(num_frames, clip_frames, clip_generator(0, 0, i))) for i in range(80)
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
    assert dense_training_clip(10, 8, clip_generator(0, 0, 0)).tolist() == [0, 8, 6, 4, 2, 0, 8, 6]
    assert dense_test_clips(10, 8, clips=2).tolist() == [[0, 8, 6, 4, 2, 0, 8, 6]] * 2


def test_dense_clips_take_another_window():
    assert dense_test_clips(20, 4, clips=3, window=16).tolist() == [
        [0, 4, 8, 12],
        [2, 6, 10, 14],
        [4, 8, 12, 16],
    ]


def test_segment_training_clips_take_every_frame_of_every_segment():
    seen = [set() for _ in range(8)]
    for index in range(200):
        clip = segment_training_clip(43, 8, clip_generator(0, 0, index))
        for segment, frame in enumerate(clip.tolist()):
            seen[segment].add(frame)
    assert seen == [set(range(5 * segment, 5 * segment + 5)) for segment in range(8)]  # 43 // 8 = 5


def test_segments_are_drawn_independently():
    clips = [segment_training_clip(160, 8, clip_generator(0, 0, i)) for i in range(20)]
    assert any(len(set(clip % 20)) > 1 for clip in clips)


def test_segment_training_clips_of_fewer_frames_than_segments_repeat_the_first():
    for num_frames in range(1, 8):
        assert segment_training_clip(num_frames, 8, clip_generator(0, 0, 0)).tolist() == [0] * 8


@pytest.mark.parametrize("clip_frames", [3, 8, 16])
def test_segment_test_clips(clip_frames):
    for num_frames in LENGTHS:
        tick = num_frames / clip_frames
        middle = [int(tick / 2 + tick * i) for i in range(clip_frames)]
        start = [int(tick * i) for i in range(clip_frames)]
        assert segment_test_clips(num_frames, clip_frames).tolist() == [middle]
        assert segment_test_clips(num_frames, clip_frames, clips=2).tolist() == [middle, start]
        for clips in (3, 5, 10):
            expected = [
                [int(tick * (c + 0.5) / clips + tick * i) for i in range(clip_frames)] for c in range(clips)
            ]
            assert segment_test_clips(num_frames, clip_frames, clips).tolist() == expected


@pytest.mark.parametrize("name", SAMPLING)
def test_every_frame_number_lies_in_the_video(name):
    train, test = SAMPLING[name]
    for num_frames in range(1, 201):
        for clip_frames in (1, 8, 32):
            clips = [train(num_frames, clip_frames, clip_generator(3, 0, num_frames))]
            for count in (1, 2, 3, 10):
                clips += list(test(num_frames, clip_frames, count))
            assert all(clip.shape == (clip_frames,) for clip in clips)
            assert all(clip.min() >= 0 and clip.max() < num_frames for clip in clips)


def test_a_clip_generator_depends_on_its_four_numbers_and_nothing_else():
    first = clip_generator(1, 2, 3, 4).integers(2**62)
    clip_generator(9, 9, 9).integers(100, size=10)
    assert clip_generator(1, 2, 3, 4).integers(2**62) == first
    others = [(0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0), (2, 1, 3, 4)]
    draws = {clip_generator(*numbers).integers(2**62) for numbers in others}
    assert len(draws | {first}) == len(others) + 1


@pytest.mark.parametrize("num_frames, clip_frames", [(0, 8), (-1, 8), (10, 0)])
@pytest.mark.parametrize("name", SAMPLING)
def test_empty_videos_and_clips_are_refused(name, num_frames, clip_frames):
    train, test = SAMPLING[name]
    for sample in (
        lambda: train(num_frames, clip_frames, clip_generator(0, 0, 0)),
        lambda: test(num_frames, clip_frames),
    ):
        with pytest.raises(
            ValueError, match=rf"Received num_frames={num_frames}, clip_frames={clip_frames}.*Try"
        ):
            sample()


def test_a_window_shorter_than_the_clip_is_refused():
    with pytest.raises(ValueError, match=r"Received window=64, clip_frames=65.*Try: window=65"):
        dense_test_clips(100, 65)
