"""Decodes every file of a manifest once, and enters in its rows what the files are."""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import math
import multiprocessing.pool
import os
import stat

import tqdm

from pipelines.bad_video import BadVideo
from pipelines.manifest.files import read_manifest, write_manifest
from pipelines.manifest.rows import Check


def check_manifest(path, decoder, workers=1, recheck=False):
    """Inspects the files of a manifest and enters in its rows what they are.

    Each file that is finished becomes a line of `<path>.journal`. A check that was killed goes on where it
    stopped when it is started again, and inspects anew only those files whose size or time of change is no
    longer that in the journal. In the end the manifest is replaced in one step. No file and no row is
    deleted.

    Args:
        path: The manifest.
        decoder: Object with a thread-safe `inspect(path)`, such as a
            `pipelines.decoding.isolation.IsolatedDecoder`.
        workers: Number of files that are inspected at a time.
        recheck: Whether to inspect files again that have a check. Files that could not be opened, and those
            that were refused by a limit or by a mishap of the machine, are always inspected again.

    Returns:
        The `Manifest` that was written, which has all rows in `videos`.

    Raises:
        FileNotFoundError: There is no such manifest.
        ValueError: The manifest is malformed, or another process is checking it.

    Cost: Every file is read and decoded whole.
    """
    path = os.path.abspath(path)  # The journal names videos by it, and must hold in any working directory.
    videos = read_manifest(path, keep_bad=True).videos
    with contextlib.closing(_open_journal(path)) as journal:
        known, found, bad = _read_journal(journal), {}, 0
        checks = {video.path: video.check for video in videos}
        todo = [file for file, check in checks.items() if recheck or check is None or not check.sha256]
        examine = functools.partial(_examine, decoder=decoder, known=known)
        with (
            multiprocessing.pool.ThreadPool(workers) as pool,
            tqdm.tqdm(total=len(todo), desc="checking", unit=" files") as bar,
        ):
            for file, stamp, check in pool.imap_unordered(examine, todo):
                if stamp and known.get(file) != (stamp, check):
                    entry = {"path": file, "size": stamp[0], "mtime_ns": stamp[1], "check": check._asdict()}
                    journal.write(f"{json.dumps(entry)}\n".encode())
                found[file] = check
                bad += check.status == "bad"
                bar.set_postfix(bad=bad, refresh=False)
                bar.update()
        # It is read once more, since rows may have come and gone in the days that a check can take.
        manifest = read_manifest(path, keep_bad=True)
        videos = (video._replace(check=found.get(video.path, video.check)) for video in manifest.videos)
        manifest = dataclasses.replace(manifest, videos=tuple(videos))
        write_manifest(path, manifest)
        os.remove(journal.name)
    return manifest


def _open_journal(manifest):
    """Returns the open journal, locked; raises ValueError if another process has locked it."""
    journal = open(f"{manifest}.journal", "a+b", buffering=0)  # noqa: SIM115 - The caller closes it.
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        journal.close()
        raise ValueError(
            f"Expected to be alone in checking {manifest}. Received {journal.name}, which another process "
            "has locked. Try: wait for it."
        ) from None
    return journal


def _read_journal(journal):
    """Returns {path: ((size, mtime_ns), `Check`)}, and cuts off a last line that was not finished."""
    journal.seek(0)
    content = journal.read()
    whole = content.rfind(b"\n") + 1
    journal.truncate(whole)
    known = {}
    for line in content[:whole].splitlines():
        with contextlib.suppress(
            ValueError, TypeError, KeyError
        ):  # The file of a damaged line is inspected again.
            entry = json.loads(line)
            known[entry["path"]] = (entry["size"], entry["mtime_ns"]), Check(**entry["check"])
    return known


def _examine(path, decoder, known):
    """Returns (path, (size, mtime_ns) or None, `Check`); without a stamp the journal does not keep it."""
    stamp, digest = None, ""
    try:
        files = _files(path)
        stamp = sum(status.st_size for _, status in files), max(status.st_mtime_ns for _, status in files)
        if path in known and known[path][0] == stamp:
            return path, *known[path]
        digest = _sha256(path, [file for file, _ in files])
    except UnicodeEncodeError:
        return path, stamp, _bad_check(digest, "no file can have this name")
    except OSError as error:
        return path, stamp, _bad_check(digest, error.strerror or str(error))
    except BadVideo as bad:
        return path, stamp, _bad_check(digest, bad.reason)
    try:
        facts = decoder.inspect(path)
    except BadVideo as bad:
        if not bad.is_final:  # Without a digest the next check inspects the file again.
            reason = f"{bad.reason} (not the file's fault: checked anew next time)"
            return path, None, _bad_check("", reason)
        return path, stamp, _bad_check(digest, bad.reason)
    fps = round(facts.fps, 6) if math.isfinite(facts.fps) else 0.0
    return path, stamp, Check(digest, facts.frames, fps, facts.width, facts.height, facts.codec, "ok")


def _bad_check(digest, reason):
    return Check(digest, 0, 0.0, 0, 0, "", "bad", reason)


def _files(path):
    """Returns [(path, status)] of a file alone, or of a folder and then the files in it, sorted by name."""
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode):
        return [(path, status)]
    if not stat.S_ISDIR(status.st_mode):  # Reading a pipe or a device might never end.
        raise BadVideo(path, "neither a file nor a folder")
    with os.scandir(path) as entries:
        files = sorted((entry.path, entry.stat()) for entry in entries if entry.is_file())
    return [(path, status), *files]


def _sha256(path, files):
    """Returns the digest of a file, or of the names and contents of a folder's files."""
    if not os.path.isdir(path):
        return _file_sha256(path)
    digest = hashlib.sha256()
    for file in files[1:]:
        digest.update(os.fsencode(os.path.basename(file)) + b"\0" + _file_sha256(file).encode() + b"\n")
    return digest.hexdigest()


def _file_sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
