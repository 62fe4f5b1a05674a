"""Reads and writes the lines of a manifest, in JSON or CSV; `pipelines.manifest.rows` knows their fields."""

import collections
import csv
import itertools
import json
import os
import re

from pipelines.manifest.rows import FIELDS, VERSION, Check, Malformed, header_from, short, video_from

_COLUMNS = (*FIELDS[:-1], *Check._fields)
_SECONDS = r"([\d.]*(?:[eE][+-]?\d+)?)"
_CSV_LABEL = re.compile(rf"((?:[^\\;@]|\\[\\;@])+)(@{_SECONDS}-{_SECONDS})?")


def read_lines(path):
    """Returns (list of `Video`, {field of `Manifest`: value} of the other fields).

    Raises:
        ValueError: A line is malformed; the error names it.
    """
    videos, header, line = [], None, 0
    # Class name -> class; without a header, classes count as they appear until all names are known.
    class_of = collections.defaultdict(itertools.count().__next__)
    rows_of = {".jsonl": _json_rows, ".csv": _csv_rows}[os.path.splitext(path)[1]]
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            for line, raw in rows_of(file):  # noqa: B007 - The errors name it.
                fields = _from_json(raw) if isinstance(raw, str) else _from_cells(raw)
                if header is None and not videos and VERSION in fields:
                    header = header_from(fields)
                    class_of = {name: class_ for class_, name in enumerate(header["classes"])}
                else:
                    videos.append(video_from(fields, os.path.dirname(path), class_of))
        except Malformed as error:
            raise ValueError(
                f"Expected {error.expected} in line {error.line or line} of {path}. "
                f"Received {short(error.received)}. Try: repair or remove the line."
            ) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"Expected rows of UTF-8 text in {path}. Received, after line {line}: {error}. "
                "Try: save the file as UTF-8, or repair the line."
            ) from None
    if header is None:
        header = {"classes": tuple(sorted(class_of))}
        sorted_class = {class_of[name]: class_ for class_, name in enumerate(header["classes"])}
        for row, video in enumerate(videos):
            labels = tuple(label._replace(number=sorted_class[label.number]) for label in video.labels)
            videos[row] = video._replace(labels=labels)
    return videos, header


def _json_rows(file):
    return ((line, text) for line, text in enumerate(file, 1) if text.strip())


def _csv_rows(file):
    """Yields (line, {column: text}) for each row; before them (1, text) if the first line is a header."""
    first, offset = file.readline(), 0
    if first.startswith("#"):
        yield 1, first.lstrip("# ")
        first, offset = file.readline(), 1
    reader = csv.DictReader(itertools.chain([first], file), strict=True)
    columns = reader.fieldnames or ()
    if not {"path", "labels"} <= set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        expected = f"the columns path,labels, and none but {','.join(_COLUMNS)},"
        raise Malformed(expected, columns, offset + 1)
    for cells in reader:
        yield offset + reader.line_num, cells


def _from_json(text):
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Malformed("a JSON object", text)
    return fields


def _from_cells(cells):
    if None in cells or None in cells.values():
        raise Malformed("one cell for each column", list(cells.values()))
    fields = {name: text for name, text in cells.items() if text}
    for name in fields.keys() & {"start", "end", "frames", "fps", "width", "height"}:
        fields[name] = _float(fields[name])
    fields["labels"] = _labels_from_cell(cells["labels"])
    check = {name: fields.pop(name) for name in Check._fields if name in fields}
    return fields | ({"check": check} if check else {})


def _labels_from_cell(cell):
    if "@" not in cell and "\\" not in cell:
        return [name.strip() for name in cell.split(";")] if cell else []
    labels, position = [], 0
    while True:
        match = _CSV_LABEL.match(cell, position)
        if not match or cell[match.end() : match.end() + 1] not in ("", ";"):
            raise Malformed(r"labels as `name;name@11.9-21.2`, with \; and \@ within names,", cell)
        name, span, start, end = match.groups()
        label = {"label": re.sub(r"\\(.)", r"\1", name.strip())}
        labels.append(label | ({"start": _float(start), "end": _float(end)} if span else {}))
        if match.end() == len(cell):
            return labels
        position = match.end() + 1


def _float(text):
    try:
        return float(text) if text else None
    except ValueError:
        raise Malformed("a number", text) from None


def _write_json_lines(file, header, rows):
    file.write(f"{header}\n")
    file.writelines(f"{json.dumps(row)}\n" for row in rows)


def _write_csv(file, header, rows):
    rows = [
        row | row.pop("check", {}) | {"labels": ";".join(map(_label_for_cell, row["labels"]))} for row in rows
    ]
    used = {"path", "labels"}.union(*rows)
    file.write(f"# {header}\n")
    writer = csv.DictWriter(file, [name for name in _COLUMNS if name in used], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _label_for_cell(label):
    label = label if isinstance(label, dict) else {"label": label}
    name = re.sub(r"([\\;@])", r"\\\1", label["label"])
    return f"{name}@{label.get('start', '')}-{label.get('end', '')}" if len(label) > 1 else name


# Suffix -> function (open file, header as text, rows as {field: value}) that writes a manifest.
WRITERS = {".jsonl": _write_json_lines, ".csv": _write_csv}
