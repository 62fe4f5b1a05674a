"""Summaries of manifests: everything that is worth knowing, in few lines."""

import hashlib

from pipelines.manifest import Check, Label, Manifest, Video
from pipelines.manifest.summary import summary


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def ok(content):
    return Check(sha256(content), 250, 25.0, 340, 256, "h264", "ok")


def bad(digest, reason):
    return Check(digest, 0, 0.0, 0, 0, "", "bad", reason)


def test_a_summary_tells_everything_worth_knowing():
    def row(name, split="train", label=0, check=None, **times):
        return Video(f"/videos/{name}", (Label(label),), split=split, check=check, **times)

    videos = (
        row("a.mp4", check=ok(b"a")),
        row("b.mp4", check=ok(b"b")._replace(fps=29.97, frames=2997, codec="vp9"), end=30.0),
        row("b.mp4", check=ok(b"b")._replace(fps=29.97, frames=2997, codec="vp9"), start=95.0),
        row("copy of a.mp4", "val", check=ok(b"a")._replace(width=128, height=96)),
        row("c.mp4", label=1, check=bad("", "No such file or directory")),
        row("d.mp4", check=bad(sha256(b"d"), "cut off")),
        row("e.mp4", "val", check=bad(sha256(b"e"), "cut off")),
        row("f.mp4", "val"),
        row("f.mp4", "val"),
    )
    assert summary(Manifest(videos, ("archery", "golf", "yoga"))).splitlines() == [
        "rows         9: train 5, val 4",
        "classes      3, 2 without a usable row, such as golf",
        "not checked  2",
        "ok           4",
        "bad          3",
        "  2 cut off, such as /videos/d.mp4",
        "  1 No such file or directory, such as /videos/c.mp4",
        f"hours        {(10 + 30 + 5 + 10) / 3600:.2f}",
        "frames/s     25 2, 29.97 2",
        "sizes        340x256 3, 128x96 1",
        "codecs       h264 2, vp9 2",
        "warning      1 rows that occur more than once, such as /videos/f.mp4",
        "warning      1 contents that several files have, such as /videos/a.mp4 = /videos/copy of a.mp4",
        "warning      1 contents in several splits, such as /videos/a.mp4 = /videos/copy of a.mp4",
    ]
