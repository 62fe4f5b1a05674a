"""The account of bad videos: complete, without repeats, and strict at its limit."""

import concurrent.futures
import csv
import logging

import pytest

from pipelines.bad_videos import BadVideo, BadVideos, TooManyBadVideos


def filled(bad, num_videos, max_fraction=1.0):
    return BadVideos(num_videos, max_fraction, [BadVideo(f"v{i}.mp4", "empty") for i in range(bad)])


def test_threads_enter_every_path_once(caplog):
    account = BadVideos(num_videos=1000)
    with caplog.at_level(logging.WARNING), concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: account.add(BadVideo(f"v{i % 200}.mp4", f"reason {i % 200}")), range(2000)))
    assert account.reasons() == {f"v{i}.mp4": f"reason {i}" for i in range(200)}
    assert len(account) == len(caplog.records) == 200


def test_the_first_reason_stays():
    account = BadVideos(2, found=[BadVideo("a.mp4", "missing")])
    account.add(BadVideo("a.mp4", "empty"))
    assert "a.mp4" in account and "b.mp4" not in account
    assert account.reasons() == {"a.mp4": "missing"}


@pytest.mark.parametrize(
    "bad, num_videos, max_fraction",
    [(0, 10, 0.0), (1, 10, 0.1), (29, 100, 0.29), (57, 100, 0.57), (9, 10, 1.0), (0, 0, 0.0)],
)
def test_up_to_the_limit_is_allowed(bad, num_videos, max_fraction):
    filled(bad, num_videos, max_fraction).check()


@pytest.mark.parametrize("bad, num_videos, max_fraction", [(1, 10, 0.0), (2, 10, 0.1), (30, 100, 0.29)])
def test_beyond_the_limit_is_an_error_with_examples(bad, num_videos, max_fraction):
    with pytest.raises(
        TooManyBadVideos, match=rf"(?s)Received {bad} of {num_videos} videos.*v0.mp4: empty.*Try"
    ):
        filled(bad, num_videos, max_fraction).check()


def test_not_one_good_video_is_an_error_whatever_the_limit():
    with pytest.raises(TooManyBadVideos):
        filled(10, 10, 1.0).check()


def test_the_written_account_is_a_csv_sorted_by_path(tmp_path):
    account = BadVideos(5, found=[BadVideo("b.mp4", 'says "no", twice'), BadVideo("a, c.mp4", "0 bytes")])
    account.write(tmp_path / "bad.csv")
    with open(tmp_path / "bad.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["a, c.mp4", "0 bytes"],
            ["b.mp4", 'says "no", twice'],
        ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.csv"]
