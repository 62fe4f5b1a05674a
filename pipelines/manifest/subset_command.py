"""The command that takes a part of a manifest, such as the Mini-Kinetics of a paper.

python -m pipelines.manifest subset --manifest=M.jsonl --output=S.jsonl --classes=200 --per_class=train=400
"""

import os

from pipelines.manifest.annotations.tables import lines
from pipelines.manifest.files import check_new, read_manifest, write_manifest
from pipelines.manifest.subset import largest_classes, of_classes, of_ids, some_of_each_class
from pipelines.manifest.summary import summary


def add_subset(commands):
    """Adds the command to the parsers of the others."""
    subset = commands.add_parser(
        "subset",
        help="take some classes, some videos of each class, or the videos of a list",
        description="Writes a manifest of a part of another one's rows, whose files are there: of a list of "
        "ids, of some classes, or some of each class at random. They act in this order.",
        allow_abbrev=False,
    )
    subset.add_argument("--manifest", required=True, help="the .jsonl or .csv file")
    subset.add_argument("--output", required=True, help="the .jsonl or .csv file to be made")
    subset.add_argument(
        "--ids",
        action="append",
        default=[],
        help="text file with one id a line, as YouTube's: the name of a file, without its ending and without "
        "the times at its end. Several times for several files.",
    )
    subset.add_argument(
        "--classes",
        help="how many classes: those with most videos of the split that --per_class names first, else of "
        "train; or a text file with one name a line",
    )
    subset.add_argument(
        "--per_class",
        help="most videos of each class and split, as in train=400,val=25; other splits stay whole",
    )
    subset.add_argument("--seed", type=int, default=0, help="another one draws other videos (default 0)")
    subset.set_defaults(run=_run_subset)


def _run_subset(options):
    ids, classes, counts = options.ids, options.classes, _counts(options.per_class)
    if not (ids or classes or counts):
        raise ValueError(
            "Expected what to take of the manifest. Received nothing. Try: --classes=200, "
            "--per_class=train=400,val=25 or --ids=FILE"
        )
    check_new(options.output)
    whole = manifest = read_manifest(options.manifest)
    notes = _told("unusable     {} left out", whole.unusable)
    if ids:
        wanted = list(dict.fromkeys(text for path in ids for text in _names(path, "ids")))
        manifest, lost = of_ids(manifest, wanted)
        notes += _told(f"warning      {{}} of {len(wanted)} ids have no row", lost)
    if classes:
        if classes.isdecimal():
            names = largest_classes(manifest, int(classes), next(iter(counts), "train"))
        else:
            names = list(dict.fromkeys(_names(classes, "classes")))
        manifest = of_classes(manifest, names)
    manifest, lacking = some_of_each_class(manifest, counts, options.seed)
    for split, found in lacking.items():
        few = [f"{name} with {count}" for name, count in found]
        notes += _told(f"warning      {{}} classes have fewer than {counts[split]} of split {split}", few)
    write_manifest(options.output, manifest)
    print("\n".join([summary(manifest), *notes]))
    parts = f"{len(manifest)} of {len(whole)} rows, {len(manifest.classes)} of {len(whole.classes)} classes"
    print(f"wrote {options.output}: {parts}")
    return 0


def _told(words, found):
    """Returns a line that says how many were found, and the first of them, or none."""
    return [f"{words.format(len(found))}, such as {found[0]}"] if found else []


def _counts(text):
    """Returns {split: count} of `train=400,val=25`; of nothing, {}."""
    pairs = [pair.rpartition("=") for pair in (text or "").split(",") if pair]
    counts = {split: int(count) for split, _, count in pairs if split and count.isdecimal() and int(count)}
    if len(counts) < len(pairs):
        raise ValueError(
            "Expected --per_class to name splits, each once, and whole numbers above 0. "
            f"Received {text!r}. Try: --per_class=train=400,val=25"
        )
    return counts


def _names(path, flag):
    """Returns the lines of a file that a flag names."""
    if not os.path.isfile(path):
        number = ", or a number" if flag == "classes" else ""
        raise FileNotFoundError(
            f"Expected --{flag} to be a text file{number}. Received {path!r}, where there is none. "
            f"Try: --{flag}=FILE with one name a line"
        )
    return [text for _, text in lines(path)]
