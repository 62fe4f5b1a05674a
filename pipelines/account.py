"""The account of a split: which videos were used, which could not be and why, and which were never read."""

import collections
import copy
import csv
import functools
import logging
import threading

from pipelines.whole_files import whole_file

_logger = logging.getLogger(__name__)


class TooManyBadVideos(Exception):
    """A larger part of the data set is unreadable than the run allows."""


class Account:
    """Keeps account of the videos of a manifest, for every thread of a pipeline.

    Args:
        manifest: A `Manifest`; its `unusable` rows are bad from the start.
        max_bad_fraction: Largest fraction of all rows, the unusable ones included, that may be bad,
            in [0, 1]; one readable video is always needed. None allows that all are bad.
    """

    def __init__(self, manifest, max_bad_fraction=1.0):
        self._manifest = manifest
        self._max_bad_fraction = max_bad_fraction
        self._num_videos = len(manifest) + len(manifest.unusable)
        self._reasons = {bad.path: bad.reason for bad in manifest.unusable}
        self._bad_rows, self._last_bad, self._used = set(), set(), set()
        self._replaced_clips, self._replaced_at = (
            0,
            {},
        )  # Those of settled steps, and {step: those of others}.
        self._lock = threading.Lock()
        for bad in manifest.unusable:
            _warn(bad)

    def __len__(self):
        return len(self._manifest.unusable) + len(self._bad_rows)

    def __contains__(self, row):
        """Returns whether the row was bad when it was last tried."""
        return row in self._last_bad

    def __str__(self):
        replaced = f", {self._num_replaced} clips replaced" if self._num_replaced else ""
        return f"{len(self)} of {self._num_videos} videos{replaced}"

    @functools.cached_property
    def fingerprint(self):
        """The fingerprint of the manifest."""
        return self._manifest.fingerprint()

    @property
    def _num_replaced(self):
        return self._replaced_clips + sum(tuple(self._replaced_at.values()))

    def path(self, row):
        """Returns the path of a row."""
        return self._manifest.videos[row].path

    def add(self, row, bad):
        """Enters a row of the manifest as bad, with its `BadVideo`; warns of each file once."""
        with self._lock:
            self._bad_rows.add(int(row))
            self._last_bad.add(int(row))
            if bad.path in self._reasons:
                return
            self._reasons[bad.path] = bad.reason
        _warn(bad)

    def use(self, rows):
        """Enters the rows of the manifest of which clips were made."""
        with self._lock:
            self._used.update(rows)
            self._last_bad.difference_update(rows)

    def replace(self, clips, step=0):
        """Enters how many clips of a step show another video than the bad one whose turn it was."""
        with self._lock:
            if clips:
                self._replaced_at[step] = clips

    def state(self, step):
        """Returns the account as it stands before a step, ready for JSON.

        Batches are made ahead of time. Videos that a later step has entered already may be in the state, as
        that step enters them again.
        """
        with self._lock:
            for settled in [other for other in self._replaced_at if other < step]:
                self._replaced_clips += self._replaced_at.pop(settled)
            return {
                "used": sorted(self._used),
                "bad": sorted(self._bad_rows),
                "last_bad": sorted(self._last_bad),
                "reasons": dict(self._reasons),
                "replaced_clips": self._replaced_clips,
            }

    def restore(self, state=None):
        """Puts a state that `state` returned in the place of the account; None is that of the beginning.

        If more videos were bad than may be, none of them is entered: they may have been repaired since.
        """
        state = dict(state or _joined([]))
        if not self._allows(len(self._manifest.unusable) + len(state["bad"])):
            state |= {"bad": (), "last_bad": (), "reasons": {}}
        with self._lock:
            self._set(state)

    def joined(self, states):
        """Returns the account that workers have together, each of which has returned a state of its own."""
        account = copy.copy(self)
        account._set(_joined(states))
        return account

    def _set(self, state):
        self._used, self._bad_rows = set(state["used"]), set(state["bad"])
        self._last_bad, self._replaced_at = set(state["last_bad"]), {}
        self._replaced_clips = state["replaced_clips"]
        self._reasons = {bad.path: bad.reason for bad in self._manifest.unusable} | state["reasons"]

    def reasons(self):
        """Returns `{path: reason}` of the bad videos, sorted by path."""
        with self._lock:
            return dict(sorted(self._reasons.items()))

    def check(self):
        """Raises `TooManyBadVideos` if more than the allowed fraction of the rows, or every row, is bad."""
        if self._allows(len(self)):
            return
        examples = "".join(f"\n  {path}: {reason}" for path, reason in list(self.reasons().items())[:5])
        expected = f"at most {self._max_bad_fraction:.1%} bad videos (max_bad_fraction)"
        raise TooManyBadVideos(
            f"Expected {expected if self._max_bad_fraction < 1 else 'a readable video'}. Received "
            f"{len(self)} of {self._num_videos} videos, among them:{examples}\n"
            "Try: repair or remove them, or a larger max_bad_fraction."
        )

    def _allows(self, count):
        if self._max_bad_fraction is None:
            return True
        # A quotient is compared, as 0.29 * 100 is less than 29, and 29 bad videos of 100 are allowed.
        fraction = count / max(1, self._num_videos)
        return fraction <= self._max_bad_fraction and fraction < 1

    def summary(self):
        """Returns what the report of a run says, ready for JSON.

        Returns:
            A dictionary: `manifest` (its fingerprint); counts of rows, `videos`, which is the sum of `used`,
            `skipped` (bad whenever they were tried) and `never_read`; `skipped_reasons` ({reason: count});
            `replaced_clips`; and `bad` ({path: reason}), also of videos of which other frames were used.
        """
        bad, videos = self.reasons(), self._manifest.videos
        with self._lock:
            used, skipped = set(self._used), self._bad_rows - self._used
        reasons = collections.Counter(bad[videos[row].path] for row in skipped)
        reasons.update(video.reason for video in self._manifest.unusable)
        num_skipped = len(skipped) + len(self._manifest.unusable)
        return {
            "manifest": self.fingerprint,
            "videos": self._num_videos,
            "used": len(used),
            "skipped": num_skipped,
            "never_read": self._num_videos - len(used) - num_skipped,
            "skipped_reasons": dict(reasons.most_common()),
            "replaced_clips": self._num_replaced,
            "bad": bad,
        }

    def write(self, path):
        """Writes the bad videos as CSV (`path,reason`), whole or not at all."""
        with (
            whole_file(path) as partial,
            # File names need not be UTF-8.
            open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            rows = [("path", "reason"), *self.reasons().items()]
            csv.writer(file).writerows([tuple(map(_writable, row)) for row in rows])


def _joined(states):
    """Returns the state of several accounts together."""
    names = ("used", "bad", "last_bad")
    sets = [{name: set(state[name]) for name in names} for state in states]
    joined = {name: set().union(*(of[name] for of in sets)) for name in names}
    # A worker that has read a video says more of it than another that could not, in a part of the run before.
    joined["last_bad"] -= set().union(*(of["used"] - of["last_bad"] for of in sets))
    return {name: sorted(rows) for name, rows in joined.items()} | {
        "reasons": {path: reason for state in states for path, reason in state["reasons"].items()},
        "replaced_clips": sum(state["replaced_clips"] for state in states),
    }


def _writable(text):
    """Returns a text that can be written: halves of characters, which no file's name has, are escaped."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _warn(bad):
    _logger.warning("Bad video skipped: %s", bad)
