"""The account of bad videos: complete, without repeats, and strict at its limit."""

import concurrent.futures
import csv
import json
import logging

import pytest

from pipelines.account import Account, TooManyBadVideos
from pipelines.bad_video import BadVideo
from pipelines.manifest import Manifest, Video


def manifest(num_videos, unusable=()):
    videos = tuple(Video(f"v{number}.mp4", ()) for number in range(num_videos - len(unusable)))
    return Manifest(videos, ("a",), tuple(unusable))


def filled(bad, num_videos, max_bad_fraction=1.0):
    unusable = [BadVideo(f"bad{number}.mp4", "empty") for number in range(bad)]
    return Account(manifest(num_videos, unusable), max_bad_fraction)


def test_names_that_no_file_has_are_escaped(tmp_path):
    account = Account(manifest(3))
    account.add(0, BadVideo("half \ud800.mp4", "no such file"))
    account.add(1, BadVideo("byte \udcff.mp4", "no such file"))
    account.write(tmp_path / "bad.csv")
    written = (tmp_path / "bad.csv").read_bytes()
    assert b"half \\ud800.mp4,no such file" in written and b"byte \xff.mp4,no such file" in written


def test_a_row_that_could_be_read_again_is_no_longer_bad():
    account = Account(manifest(3))
    account.add(1, BadVideo("v1.mp4", "no such file"))
    assert 1 in account and 0 not in account
    account.use([1, 2])
    assert 1 not in account
    assert account.reasons() == {"v1.mp4": "no such file"} and len(account) == 1


def test_threads_enter_every_path_once(caplog):
    account = Account(manifest(1000))
    with caplog.at_level(logging.WARNING), concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda i: account.add(i % 200, BadVideo(f"v{i % 200}.mp4", f"reason {i % 200}")), range(2000)
            )
        )
    assert account.reasons() == {f"v{i}.mp4": f"reason {i}" for i in range(200)}
    assert len(account) == len(caplog.records) == 200


def test_the_first_reason_stays():
    account = Account(manifest(3, [BadVideo("a.mp4", "missing")]))
    account.add(1, BadVideo("a.mp4", "empty"))
    assert 1 in account and 0 not in account
    assert account.reasons() == {"a.mp4": "missing"}


def test_every_row_of_a_bad_file_counts():
    videos = tuple(Video("one.mp4", (), start=float(second), end=second + 1.0) for second in range(10))
    account = Account(Manifest(videos, ("a",)), max_bad_fraction=0.2)
    account.add(3, BadVideo("one.mp4", "no frame between 3 and 4 s"))
    account.use(range(3))
    account.add(4, BadVideo("one.mp4", "no frame between 4 and 5 s"))
    account.check()
    summary = account.summary()
    assert (summary["used"], summary["skipped"], summary["never_read"]) == (3, 2, 5)
    assert 0 not in account and 4 in account
    account.add(5, BadVideo("one.mp4", "no frame between 5 and 6 s"))
    with pytest.raises(TooManyBadVideos, match="Received 3 of 10 videos"):
        account.check()


def test_names_that_are_no_text_are_written(tmp_path):
    path = b"caf\xe9.mp4".decode(errors="surrogateescape")
    Account(manifest(2, [BadVideo(path, "empty")])).write(tmp_path / "bad.csv")
    assert b"caf\xe9.mp4,empty" in (tmp_path / "bad.csv").read_bytes()


def test_the_summary_adds_up():
    account = Account(manifest(10, [BadVideo("gone.mp4", "missing"), BadVideo("x.mp4", "empty")]))
    account.add(3, BadVideo("v3.mp4", "empty"))
    account.add(5, BadVideo("v5.mp4", "damaged"))
    account.use([0, 1, 1, 5])  # v5 is damaged in one place and was used in another.
    account.use([7])
    account.replace(2, step=4)
    account.replace(1, step=5)
    assert account.summary() == {
        "manifest": manifest(10, [BadVideo("gone.mp4", ""), BadVideo("x.mp4", "")]).fingerprint(),
        "videos": 10,
        "used": 4,
        "skipped": 3,
        "never_read": 3,
        "skipped_reasons": {"empty": 2, "missing": 1},
        "replaced_clips": 3,
        "bad": {"gone.mp4": "missing", "v3.mp4": "empty", "v5.mp4": "damaged", "x.mp4": "empty"},
    }
    assert str(account) == "4 of 10 videos, 3 clips replaced"
    assert json.loads(json.dumps(account.summary())) == account.summary()


def test_a_state_gives_the_account_again_and_what_comes_again_counts_once():
    account = Account(manifest(10, [BadVideo("gone.mp4", "missing")]), max_bad_fraction=0.2)
    account.use([0, 1, 4])
    account.replace(2, step=4)
    account.replace(1, step=5)
    account.replace(1, step=5)  # Keras asks for the first batch twice.
    account.add(3, BadVideo("v3.mp4", "empty"))
    state = json.loads(json.dumps(account.state(step=5)))
    again = Account(manifest(10, [BadVideo("gone.mp4", "missing")]), max_bad_fraction=0.2)
    again.restore(state)
    again.use([4])
    again.replace(1, step=5)
    again.add(3, BadVideo("v3.mp4", "empty"))
    assert again.summary() == account.summary() and again.summary()["replaced_clips"] == 3
    assert 3 in again and 0 not in again


def test_videos_that_may_have_been_repaired_do_not_end_a_run_again():
    account = Account(manifest(10, []), max_bad_fraction=0.2)
    for row in range(3):
        account.add(row, BadVideo(f"v{row}.mp4", "empty"))
    again = Account(manifest(10, []), max_bad_fraction=0.2)
    again.restore(account.state(step=1))
    again.check()
    assert len(again) == 0 and again.reasons() == {}


@pytest.mark.parametrize(
    "bad, num_videos, max_bad_fraction",
    [(0, 10, 0.0), (1, 10, 0.1), (29, 100, 0.29), (57, 100, 0.57), (9, 10, 1.0), (0, 0, 0.0)],
)
def test_up_to_the_limit_is_allowed(bad, num_videos, max_bad_fraction):
    filled(bad, num_videos, max_bad_fraction).check()


@pytest.mark.parametrize("bad, num_videos, max_bad_fraction", [(1, 10, 0.0), (2, 10, 0.1), (30, 100, 0.29)])
def test_beyond_the_limit_is_an_error_with_examples(bad, num_videos, max_bad_fraction):
    with pytest.raises(
        TooManyBadVideos, match=rf"(?s)Received {bad} of {num_videos} videos.*bad0.mp4: empty.*Try"
    ):
        filled(bad, num_videos, max_bad_fraction).check()


def test_not_one_good_video_is_an_error_whatever_the_limit():
    with pytest.raises(TooManyBadVideos):
        filled(10, 10, 1.0).check()


def test_the_written_account_is_a_csv_sorted_by_path(tmp_path):
    bad = [BadVideo("b.mp4", 'says "no", twice'), BadVideo("a, c.mp4", "0 bytes")]
    Account(manifest(5, bad)).write(tmp_path / "bad.csv")
    with open(tmp_path / "bad.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["a, c.mp4", "0 bytes"],
            ["b.mp4", 'says "no", twice'],
        ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.csv"]


def test_accounts_of_workers_join_to_that_of_one():
    of_one, of_two = filled(0, 6), filled(0, 6)
    of_one.use([0, 1])
    of_one.add(2, BadVideo("v2.mp4", "broken"))
    of_one.replace(2, step=1)
    of_two.use([3])
    of_two.add(4, BadVideo("v4.mp4", "cut off"))
    of_two.replace(1, step=1)
    states = [account.state(5) for account in (of_one, of_two)]
    joined = of_two.joined(states)
    assert joined.summary()["used"] == 3 and joined.summary()["replaced_clips"] == 3
    assert joined.reasons() == {"v2.mp4": "broken", "v4.mp4": "cut off"}
    assert [row in joined for row in range(6)] == [False, False, True, False, True, False]
    assert of_two.reasons() == {"v4.mp4": "cut off"}  # It is what it was.
    of_two.use([2])  # It could be read again.
    assert 2 not in of_one.joined([account.state(5) for account in (of_one, of_two)])
