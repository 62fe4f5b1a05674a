r"""Manifests: files whose rows (path, labels, start, end) say which videos there are and what they show.

JSON lines (`.jsonl`) have a header, then an object for each row. Values that are the default are left out.

    {"keras_nonlocal_manifest": 1, "classes": ["archery", "yoga"]}
    {"path": "val/a.mp4", "labels": ["yoga"], "split": "val"}
    {"path": "val/b.mp4", "labels": [{"label": "archery", "start": 11.9, "end": 21.2}], "end": 30.0}

CSV (`.csv`) has the header as a comment in the first line. `;` stands between labels, and `@` before a
time span, whose ends may be missing (`@11.9-`). Within a name, `\;`, `\@` and `\\` stand for the signs
themselves.

    # {"keras_nonlocal_manifest": 1, "classes": ["archery", "yoga"]}
    path,labels,start,end,split
    val/a.mp4,yoga,,,val
    val/b.mp4,archery@11.9-21.2,,30.0,

Paths are absolute or relative to the manifest's folder, times are seconds from the beginning of the file.
Without a header, the classes are the sorted names. A header may also say `"directional": true` and
`"mirrored": [...]`, see `Manifest`. A row that occurs twice counts twice.

`python -m pipelines.manifest --help` makes manifests, checks their files and sums them up.
"""

from pipelines.manifest.files import Manifest, is_manifest, read_manifest, without_bad, write_manifest
from pipelines.manifest.rows import Check, Label, Video

__all__ = [
    "Check",
    "Label",
    "Manifest",
    "Video",
    "is_manifest",
    "read_manifest",
    "without_bad",
    "write_manifest",
]
