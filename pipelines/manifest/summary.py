"""Sums a manifest up: how many rows it has, what their checks found, and what occurs twice."""

import collections

_MOST_SHOWN = 8  # A list of reasons, sizes and so on is cut off after these.


def summary(manifest):
    """Returns lines of text that sum up all rows and what their checks found.

    Args:
        manifest: A `Manifest`, read with `keep_bad`.
    """
    videos = manifest.videos
    good = [video for video in videos if video.check and video.check.status == "ok"]
    bad = [video for video in videos if video.check and video.check.status == "bad"]
    usable = {label.number for video in set(videos).difference(bad) for label in video.labels}
    empty = [name for class_, name in enumerate(manifest.classes) if class_ not in usable]
    lines = [
        f"rows         {len(videos)}: {_counts(video.split or '(no split)' for video in videos)}",
        f"classes      {len(manifest.classes)}, {len(empty)} without a usable row" + _such_as(empty),
        f"not checked  {len(videos) - len(good) - len(bad)}",
        f"ok           {len(good)}",
        f"bad          {len(bad)}",
    ]
    by_reason = collections.defaultdict(list)
    for video in bad:
        by_reason[video.check.reason].append(video.path)
    for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:_MOST_SHOWN]:
        lines.append(f"  {len(paths)} {reason}{_such_as(paths)}")
    if len(by_reason) > _MOST_SHOWN:
        lines.append(f"  and {len(by_reason) - _MOST_SHOWN} other reasons")
    if good:
        checks = [video.check for video in good]
        lines += [
            f"hours        {sum(map(_seconds, good)) / 3600:.2f}",
            f"frames/s     {_counts(f'{check.fps:.2f}'.removesuffix('.00') for check in checks)}",
            f"sizes        {_counts(f'{check.width}x{check.height}' for check in checks)}",
            f"codecs       {_counts(check.codec for check in checks)}",
        ]
    return "\n".join(lines + _repeats(videos))


def _seconds(video):
    """Returns how many seconds the part of a file lasts that its row takes."""
    whole = video.check.frames / video.check.fps if video.check.fps else 0.0
    end = whole if video.end is None else min(video.end, whole)
    return max(0.0, end - (video.start or 0.0))


def _counts(values):
    """Returns text such as `h264 1200, vp9 31`, which begins with the most frequent value."""
    counts = collections.Counter(values)
    shown = ", ".join(f"{value} {count}" for value, count in counts.most_common(_MOST_SHOWN))
    return shown + (f", {len(counts) - _MOST_SHOWN} others" if len(counts) > _MOST_SHOWN else "")


def _such_as(values):
    return f", such as {values[0]}" if values else ""


def _repeats(videos):
    """Returns a line for each way in which rows repeat each other, if any rows do."""
    rows = collections.Counter((video.path, video.start, video.end, video.split) for video in videos)
    paths, splits = collections.defaultdict(dict), collections.defaultdict(dict)
    for video in videos:
        content = (video.check and video.check.sha256) or video.path
        paths[content][video.path] = splits[content][video.split] = video.path
    again = [path for (path, *_), count in rows.items() if count > 1]
    copies = [" = ".join(list(names)[:2]) for names in paths.values() if len(names) > 1]
    shared = [" = ".join(list(names.values())[:2]) for names in splits.values() if len(names) > 1]
    found = {
        "rows that occur more than once": again,
        "contents that several files have": copies,
        "contents in several splits": shared,
    }
    return [f"warning      {len(names)} {what}{_such_as(names)}" for what, names in found.items() if names]
