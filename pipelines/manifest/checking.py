"""Decodes every file of a manifest once and writes down what it is; the command of `pipelines.manifest`.

python -m pipelines.manifest import --format=kinetics --data_dir=DIR --annotations=train.csv --output=M.jsonl
python -m pipelines.manifest check --manifest=M.jsonl
python -m pipelines.manifest summary --manifest=M.jsonl
"""

import argparse
import collections
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import inspect
import json
import math
import multiprocessing.pool
import os
import re
import stat
import sys

import tqdm

from pipelines.bad_video import BadVideo
from pipelines.manifest.annotations import FORMATS
from pipelines.manifest.files import read_manifest, without_bad, write_manifest
from pipelines.manifest.rows import Check

_MOST_SHOWN = 8  # Reasons, sizes and so on in a summary.


def check_manifest(path, decoder, workers=1, recheck=False):
    """Inspects the files of a manifest and enters what was found in its rows.

    Each finished file is a line of `<path>.journal`. Killed at any instant and called again, this goes on
    where it stopped; a file whose size or time of change is no longer that in the journal is inspected
    anew. In the end the manifest is replaced in one step. No file and no row is deleted.

    Args:
        path: The manifest.
        decoder: Has a thread-safe `inspect(path)`, such as `pipelines.decoding.isolation.IsolatedDecoder`.
        workers: Number of files that are inspected at a time.
        recheck: Whether to inspect files again that have a check. Those that could not be opened always are.

    Returns:
        The `Manifest` as it was written, with all rows in `videos`.

    Raises:
        ValueError: The manifest is malformed, or another process is checking it.

    Cost: every file is read and decoded whole.
    """
    path = os.path.abspath(path)  # The journal has its paths from here, wherever one stands the next time.
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
        # Read once more, as rows may have come and gone in the days that a check can take.
        manifest = read_manifest(path, keep_bad=True)
        videos = (video._replace(check=found.get(video.path, video.check)) for video in manifest.videos)
        manifest = dataclasses.replace(manifest, videos=tuple(videos))
        write_manifest(path, manifest)
        os.remove(journal.name)
    return manifest


def summary(manifest):
    """Returns an account of all rows and of what their checks found, as lines of text.

    Args:
        manifest: A `Manifest`, read with `keep_bad`.
    """
    videos = manifest.videos
    good = [video for video in videos if video.check and video.check.status == "ok"]
    bad = [video for video in videos if video.check and video.check.status == "bad"]
    usable = {label.number for video in set(videos).difference(bad) for label in video.labels}
    empty = [name for number, name in enumerate(manifest.classes) if number not in usable]
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


def main(arguments=None):
    """Parses the command line and runs one of the commands; returns the exit status."""
    options = _parser(arguments).parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; `check` goes on from here when it is run again", file=sys.stderr)
        return 130


def _open_journal(manifest):
    """Opens the journal for this process alone."""
    journal = open(f"{manifest}.journal", "a+b", buffering=0)  # noqa: SIM115 - the caller closes it.
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
    """Returns {path: ((size, mtime_ns), Check)}, and cuts off a last line that was not finished."""
    journal.seek(0)
    content = journal.read()
    whole = content.rfind(b"\n") + 1
    journal.truncate(whole)
    known = {}
    for line in content[:whole].splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # Such a line's file is inspected again.
            entry = json.loads(line)
            known[entry["path"]] = (entry["size"], entry["mtime_ns"]), Check(**entry["check"])
    return known


def _examine(path, decoder, known):
    """Returns (path, (size, mtime_ns) or None, Check)."""
    stamp, digest = None, ""
    try:
        files = _files(path)
        stamp = sum(status.st_size for _, status in files), max(status.st_mtime_ns for _, status in files)
        if path in known and known[path][0] == stamp:
            return path, *known[path]
        digest = _sha256(path, [file for file, _ in files])
    except OSError as error:
        return path, stamp, _bad_check(digest, error.strerror or str(error))
    except BadVideo as bad:
        return path, stamp, _bad_check(digest, bad.reason)
    try:
        facts = decoder.inspect(path)
    except BadVideo as bad:
        return path, stamp, _bad_check(digest, bad.reason)
    fps = round(facts.fps, 6) if math.isfinite(facts.fps) else 0.0
    return path, stamp, Check(digest, facts.frames, fps, facts.width, facts.height, facts.codec, "ok")


def _bad_check(digest, reason):
    return Check(digest, 0, 0.0, 0, 0, "", "bad", reason)


def _files(path):
    """Returns [(path, status)]: the file alone, or a folder and then the files in it, sorted by name."""
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode):
        return [(path, status)]
    if not stat.S_ISDIR(status.st_mode):  # Reading a pipe or a device might never end.
        raise BadVideo(path, "neither a file nor a folder")
    with os.scandir(path) as entries:
        files = sorted((entry.path, entry.stat()) for entry in entries if entry.is_file())
    return [(path, status), *files]


def _sha256(path, files):
    if not os.path.isdir(path):
        return _file_sha256(path)
    digest = hashlib.sha256()
    for file in files[1:]:
        digest.update(os.fsencode(os.path.basename(file)) + b"\0" + _file_sha256(file).encode() + b"\n")
    return digest.hexdigest()


def _file_sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seconds(video):
    """Returns the length of the part of a file that counts."""
    whole = video.check.frames / video.check.fps if video.check.fps else 0.0
    end = whole if video.end is None else min(video.end, whole)
    return max(0.0, end - (video.start or 0.0))


def _counts(values):
    """Returns `h264 1200, vp9 31`, the most frequent first."""
    counts = collections.Counter(values)
    shown = ", ".join(f"{value} {count}" for value, count in counts.most_common(_MOST_SHOWN))
    return shown + (f", {len(counts) - _MOST_SHOWN} others" if len(counts) > _MOST_SHOWN else "")


def _such_as(values):
    return f", such as {values[0]}" if values else ""


def _repeats(videos):
    """Returns a line for each way in which the same pictures stand in more than one row."""
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


def _parser(arguments):
    """Returns the parser; `import` has the flags of the format that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.manifest",
        description="Makes manifests, decodes every file of one to see what it is, and sums one up.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_import(commands, arguments)

    check = commands.add_parser(
        "check",
        help="decode every file, and enter what it is and whether it can be read",
        description="Decodes every file in processes of its own, enters in the manifest what it is and "
        "whether it can be read, and prints a summary. Stopped in any way, the same command goes on where it "
        "stopped. It removes no file and no row.",
        allow_abbrev=False,
    )
    check.add_argument("--manifest", required=True, help="the .jsonl or .csv file")
    check.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes (default: one per core)"
    )
    check.add_argument(
        "--timeout_seconds", type=float, default=60, help="a file that takes longer is bad (default 60)"
    )
    check.add_argument("--recheck", action="store_true", help="also files that have been checked before")
    check.add_argument("--strict", action="store_true", help="exit with status 1 if a file is bad")
    check.set_defaults(run=_run_check)

    of = commands.add_parser("summary", help="print what a manifest holds", allow_abbrev=False)
    of.add_argument("--manifest", required=True, help="the .jsonl or .csv file")
    of.set_defaults(run=_run_summary)
    return parser


def _add_import(commands, arguments):
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--format", nargs="?")
    name = known.parse_known_args(arguments)[0].format
    formats = "\n".join(f"  {name:24}{_documentation(reader)[0]}" for name, reader in FORMATS.items())
    command = commands.add_parser(
        "import",
        help="make a manifest of a data set's own annotations",
        description="Makes a manifest of a data set's own annotations.",
        epilog=f"formats:\n{formats}\n\n--format=FORMAT --help shows the flags of a format.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--format", choices=FORMATS, metavar="FORMAT", required=True, help="see below")
    command.add_argument("--output", required=True, help="the .jsonl or .csv file to be made")
    command.set_defaults(run=_run_import)
    if name not in FORMATS:
        return
    _, texts = _documentation(FORMATS[name])
    for place, parameter in enumerate(_parameters(FORMATS[name])):
        flag = {"help": texts[parameter.name], "required": parameter.default is parameter.empty}
        if place == 1:
            flag |= {"action": "append", "help": f"{flag['help']} Several times for several splits."}
        elif not flag["required"]:
            default = f" (default {parameter.default})" if parameter.default else ""
            flag |= {"default": parameter.default, "type": type(parameter.default or "")}
            flag["help"] += default
        command.add_argument(f"--{parameter.name}", **flag)


def _documentation(reader):
    """Returns the first line of a reader's docstring, and {argument: text}."""
    text = inspect.getdoc(reader)
    arguments = re.search(r"Args:\n(.*?)\n\n", text, re.DOTALL)[1]
    texts = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE)
    flags = {name: re.sub(r"`([a-z_]+)`", r"--\1", " ".join(words.split())) for name, words in texts}
    return text.split("\n")[0], flags


def _parameters(reader):
    """Returns the parameters that are flags; the second one tells the split."""
    parameters = inspect.signature(reader).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in ("classes", "keep_bad")]


def _run_import(options):
    if os.path.exists(options.output):
        raise ValueError(
            f"Expected an --output that does not exist. Received {options.output}. "
            "Try: another name, or remove the file and what is known of its videos."
        )
    reader = FORMATS[options.format]
    flags = {parameter.name: getattr(options, parameter.name) for parameter in _parameters(reader)}
    selector = list(flags)[1]
    given = flags.pop(selector)
    parts, classes = [], {}
    for choice in given if given is not None else [inspect.signature(reader).parameters[selector].default]:
        parts.append(reader(**flags, **classes, **{selector: choice}, keep_bad=True))
        if "classes" in inspect.signature(reader).parameters:
            classes = {"classes": parts[0].classes}
    manifest = dataclasses.replace(
        parts[0],
        videos=tuple(video for part in parts for video in part.videos),
        unusable=tuple(bad for part in parts for bad in part.unusable),
    )
    unusable = without_bad(manifest, options.output).unusable
    write_manifest(options.output, manifest)
    print(summary(manifest))
    if unusable:
        print(f"unusable     {len(unusable)}, such as {unusable[0]}")
    print(f"wrote {options.output}")
    return 0


def _run_check(options):
    from pipelines.decoding.isolation import IsolatedDecoder  # Only this command decodes.

    if options.workers < 1 or not options.timeout_seconds > 0:
        raise ValueError(
            f"Expected --workers and --timeout_seconds above 0. Received {options.workers} and "
            f"{options.timeout_seconds}. Try: leave them out."
        )
    decoder = IsolatedDecoder(options.workers, options.timeout_seconds)
    manifest = check_manifest(options.manifest, decoder, options.workers, options.recheck)
    decoder.close()  # Not when interrupted: it would wait for the files that are being decoded.
    print(summary(manifest))
    return int(
        options.strict and any(video.check.status == "bad" for video in manifest.videos if video.check)
    )


def _run_summary(options):
    print(summary(read_manifest(options.manifest, keep_bad=True)))
    return 0
