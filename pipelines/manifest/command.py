"""The command that makes manifests, checks their files, splits them, takes parts of them and sums them up.

python -m pipelines.manifest import --format=kinetics --data_dir=DIR --annotations=train.csv --output=M.jsonl
python -m pipelines.manifest check --manifest=M.jsonl
python -m pipelines.manifest split --manifest=M.jsonl --val_fraction=0.2
python -m pipelines.manifest subset --manifest=M.jsonl --classes=200 --per_class=train=400 --output=S.jsonl
python -m pipelines.manifest summary --manifest=M.jsonl
"""

import argparse
import contextlib
import dataclasses
import difflib
import os
import re
import sys

from pipelines.manifest.annotations import FORMATS
from pipelines.manifest.checking import check_manifest
from pipelines.manifest.files import check_new, read_manifest, without_bad, write_manifest
from pipelines.manifest.subset_command import add_subset
from pipelines.manifest.summary import summary


class FlagParser(argparse.ArgumentParser):
    """A parser that names the flag or the choice that is nearest to an unknown one."""

    def parse_known_args(self, args=None, namespace=None):
        """Ends the program for a flag that is spelt much like one of this parser's."""
        words = sys.argv[1:] if args is None else args
        known = set(re.findall(r"--\w+", self.format_help()))
        names = {word.partition("=")[0] for word in words if word.startswith("--")}
        for name in sorted(names - known) if "--beam" not in names else ():  # Beam has flags of its own.
            if near := difflib.get_close_matches(name, known):
                self.error(f"Expected a flag of this command. Received {name}. Try: {near[0]}")
        return super().parse_known_args(args, namespace)

    def error(self, message):
        """Prints what is wrong, and ends the program."""
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = difflib.get_close_matches(choice[1], re.findall(r"\w+", choice[2]))
            message += f". Try: {near[0]}" if near else ""
        super().error(message)


def main(arguments=None):
    """Parses the command line and runs one of the commands; returns the exit status."""
    options = _parser(arguments).parse_args(arguments)
    with contextlib.suppress(AttributeError):  # A test's output cannot be set up, and need not be.
        sys.stdout.reconfigure(errors="backslashreplace")  # Names of files need not be text.
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; `check` goes on from here when it is run again", file=sys.stderr)
        return 130


def _parser(arguments):
    """Returns the parser; its `import` has the flags of the format that the arguments name."""
    parser = FlagParser(
        prog="python -m pipelines.manifest",
        description="Makes manifests, decodes their files to see what they are, splits them, takes parts of "
        "them and sums them up.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = _add_import(commands)
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--format", nargs="?")
    chosen = known.parse_known_args(arguments)[0].format
    if chosen in FORMATS:
        _add_flags(command, FORMATS[chosen])
    _add_check(commands)
    _add_split(commands)
    add_subset(commands)
    of = commands.add_parser("summary", help="print what a manifest holds", allow_abbrev=False)
    of.add_argument("--manifest", required=True, help="the .jsonl or .csv file")
    of.set_defaults(run=_run_summary)
    return parser


def _add_import(commands):
    formats = "\n".join(f"  {name:24}{form.help}" for name, form in FORMATS.items())
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
    return command


def _add_flags(command, form):
    command.add_argument("--data_dir", required=True, help=form.data_dir)
    command.add_argument(
        f"--{form.split.name}",
        action="append",
        required=form.split.default is None,
        help=f"{form.split.help} Several times for several splits.",
    )
    for flag in form.options:
        default = "" if flag.default is None else f" (default {flag.default})"
        kind = str if flag.default is None else type(flag.default)
        command.add_argument(f"--{flag.name}", type=kind, default=flag.default, help=flag.help + default)


def _add_check(commands):
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
        "--timeout_seconds",
        type=float,
        default=60,
        help="for which a file may decode nothing (default 60); each frame gives 0.1 s more, if it takes it",
    )
    check.add_argument(
        "--decoder_megabytes",
        type=int,
        default=570,
        help="most memory for decoding a file (default 570, for 4K); 8K needs 1500, with 10 bits 2300",
    )
    check.add_argument("--recheck", action="store_true", help="also files that have been checked before")
    check.add_argument("--strict", action="store_true", help="exit with status 1 if a file is bad")
    check.set_defaults(run=_run_check)


def _add_split(commands):
    split = commands.add_parser(
        "split",
        help="divide the rows into training and validation, class by class",
        description="Divides the rows into the splits train and val, class by class. Copies of a video, "
        "also of another size or format, go to the same side. The manifest is replaced in one step.",
        allow_abbrev=False,
    )
    split.add_argument("--manifest", required=True, help="the .jsonl or .csv file")
    split.add_argument(
        "--val_fraction", type=float, default=0.2, help="part of each class for validation (default 0.2)"
    )
    split.add_argument("--seed", type=int, default=0, help="another one gives another split (default 0)")
    split.add_argument(
        "--anew", action="store_true", help="also if the rows have splits, which are forgotten"
    )
    split.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="files read at a time (default: one per core)"
    )
    split.set_defaults(run=_run_split)


def _run_import(options):
    check_new(options.output)
    form = FORMATS[options.format]
    manifest = _read_splits(form, {name: getattr(options, name) for name in form.flags})
    unusable = without_bad(manifest, options.output).unusable
    write_manifest(options.output, manifest)
    print(summary(manifest))
    if unusable:
        print(f"unusable     {len(unusable)}, such as {unusable[0]}")
    print(f"wrote {options.output}")
    return 0


def _read_splits(form, flags):
    """Returns the `Manifest` of all splits that the values of the flags name."""
    splits, classes, parts = flags.pop(form.split.name), {}, []
    for split in [form.split.default] if splits is None else splits:
        parts.append(form.read(**flags, **classes, **{form.split.name: split}, keep_bad=True))
        if form.shares_classes:
            classes = {"classes": parts[0].classes}
    return dataclasses.replace(
        parts[0],
        videos=tuple(video for part in parts for video in part.videos),
        unusable=tuple(bad for part in parts for bad in part.unusable),
    )


def _run_check(options):
    from pipelines.decoding.isolation import IsolatedDecoder  # Importing a manifest needs no decoder.
    from pipelines.decoding.limits import Limits

    numbers = options.workers, options.timeout_seconds, options.decoder_megabytes
    if not all(number > 0 for number in numbers):
        raise ValueError(
            "Expected --workers, --timeout_seconds and --decoder_megabytes above 0. Received "
            f"{', '.join(map(str, numbers))}. Try: leave them out."
        )
    limits = Limits.of_decoders(options.decoder_megabytes)
    decoder = IsolatedDecoder(options.workers, options.timeout_seconds, limits=limits)
    manifest = check_manifest(options.manifest, decoder, options.workers, options.recheck)
    decoder.close()  # Not when interrupted: it would wait for the files that are being decoded.
    print(summary(manifest))
    return int(
        options.strict and any(video.check.status == "bad" for video in manifest.videos if video.check)
    )


def _run_split(options):
    from pipelines.decoding.isolation import IsolatedDecoder
    from pipelines.manifest.splitting import alike_files, classes_without, split_by_class

    manifest = read_manifest(options.manifest, keep_bad=True)
    splits = sorted({video.split for video in manifest.videos} - {""})
    if splits and not options.anew:
        raise ValueError(
            f"Expected rows without splits in {options.manifest}. Received {', '.join(splits)}. "
            "Try: --anew, which forgets these"
        )
    good = [video.path for video in manifest.videos if not (video.check and video.check.status == "bad")]
    with IsolatedDecoder(options.workers) as decode:
        alike = alike_files(good, decode, options.workers)
    manifest = split_by_class(manifest, options.val_fraction, options.seed, alike)
    write_manifest(options.manifest, manifest)
    print(summary(manifest))
    if alike:
        print(f"alike        {len(alike)} pairs of files, such as {' = '.join(alike[0])}")
    if lacking := classes_without(manifest, "val"):
        print(f"warning      {len(lacking)} classes have no video for validation, such as {lacking[0]}")
    return 0


def _run_summary(options):
    print(summary(read_manifest(options.manifest, keep_bad=True)))
    return 0
