"""The account of videos that cannot be read: each one named once, with its reason."""

import csv
import logging
import os
import threading

_logger = logging.getLogger(__name__)


class BadVideo(Exception):
    """One video cannot be used.

    Args:
        path: The file, or `"<bytes>"`.
        reason: What is wrong with it, in words for a person.
    """

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class TooManyBadVideos(Exception):
    """More of the data set is unreadable than the run allows."""


class BadVideos:
    """Collects bad videos from every thread of a pipeline and says when there are too many.

    Args:
        num_videos: Number of videos in the data set, the bad ones included.
        max_fraction: Largest fraction of `num_videos` that may be bad, in [0, 1].
        found: `BadVideo`s known before the first one is read, such as missing files.
    """

    def __init__(self, num_videos, max_fraction=1.0, found=()):
        self._num_videos = num_videos
        self._max_fraction = max_fraction
        self._reasons = {}
        self._lock = threading.Lock()
        for bad in found:
            self.add(bad)

    def __len__(self):
        return len(self._reasons)

    def __contains__(self, path):
        return path in self._reasons

    def __str__(self):
        return f"{len(self)} of {self._num_videos} videos"

    def add(self, bad):
        """Enters a `BadVideo` and warns about it; a path that is known already is entered once."""
        with self._lock:
            if bad.path in self._reasons:
                return
            self._reasons[bad.path] = bad.reason
        _logger.warning("Bad video skipped: %s", bad)

    def reasons(self):
        """Returns `{path: reason}`, sorted by path."""
        with self._lock:
            return dict(sorted(self._reasons.items()))

    def check(self):
        """Raises `TooManyBadVideos` if more than the allowed fraction is bad, or every video is."""
        # As a quotient: 0.29 * 100 is less than 29, and 29 bad ones of 100 are allowed.
        fraction = len(self) / max(1, self._num_videos)
        if fraction <= self._max_fraction and fraction < 1:
            return
        examples = "".join(f"\n  {path}: {reason}" for path, reason in list(self.reasons().items())[:5])
        raise TooManyBadVideos(
            f"Expected at most {self._max_fraction:.1%} bad videos (max_bad_fraction). Received {self}, "
            f"among them:{examples}\nTry: repair or remove them, or allow more with --max_bad_fraction."
        )

    def write(self, path):
        """Writes the account as CSV (`path,reason`), whole or not at all."""
        partial = f"{path}.partial"
        with open(partial, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "reason"), *self.reasons().items()])
        os.replace(partial, path)
