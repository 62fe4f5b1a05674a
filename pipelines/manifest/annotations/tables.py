"""Reads annotation files as lines, CSV or JSON; errors name the path and the line."""

import collections
import csv
import io
import json
import os


def lines(path):
    """Returns [(line, text)] of the lines that are not empty."""
    numbered = enumerate(_text(path).split("\n"), 1)
    return [(line, text.strip()) for line, text in numbered if text.strip()]


def csv_rows(path, columns):
    """Yields (line, {column: text}) of the rows."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(
                f"Expected the columns {','.join(columns)} in {path}. Received {reader.fieldnames}. "
                f"Try: add {', '.join(lacking)} to the header."
            )
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"Expected CSV in {path}. Received, after line {reader.line_num}: {error}. Try: repair the line."
        ) from None


def json_content(path, kind):
    """Returns the content of a JSON file, which must be of the type `kind`: `list` or `dict`."""
    try:
        content = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {path}. Received {error}. Try: download it again.") from None
    if not isinstance(content, kind):
        raise ValueError(
            f"Expected a JSON {kind.__name__} in {path}. Received a {type(content).__name__}. "
            "Try: another file."
        )
    return content


def texts_by_id(path):
    """Returns {id: text} of a file with lines `12 text`."""
    found = {}
    for line, text in lines(path):
        id_, _, rest = text.partition(" ")
        if not (id_.isdecimal() and rest) or int(id_) in found:
            raise malformed("an id that occurs once, and a text,", path, line, text)
        found[int(id_)] = rest.strip()
    return found


def class_names(path):
    """Returns the class names of a file that has one in each line."""
    return _checked_names([text for _, text in lines(path)], path)


def numbered_class_names(path):
    """Returns the class names of a file with lines `1 name`, in the order of the ids, which count from 1."""
    names = texts_by_id(path)
    return _checked_names([names.get(id_) for id_ in range(1, 1 + len(names))], path)


def class_names_of_json(path):
    """Returns the class names of a JSON object `{name: "class number"}` in the order of the classes."""
    class_of = json_content(path, dict)
    names = {str(class_): name for name, class_ in class_of.items()}
    return _checked_names([names.get(str(class_)) for class_ in range(len(class_of))], path)


def malformed(expected, table, line, received, unit="line"):
    """Returns the error for a line that is not as expected, or for the entry of that number, by `unit`."""
    received = repr(received) if len(repr(received)) <= 200 else f"{received!r:.200}..."
    return ValueError(
        f"Expected {expected} in {unit} {line} of {table}. Received {received}. "
        f"Try: repair or remove the {unit}."
    )


def unknown_label(label, source):
    """Returns the error for a label that is none of the given classes."""
    return ValueError(
        f"Expected only the labels of the training split. Received {label!r} in {source}. "
        "Try: use the annotation files of one release, or remove the rows of that label."
    )


def no_file(path):
    """Returns the error for an annotation file that is not there."""
    return FileNotFoundError(
        f"Expected an annotation file at {path!r}. Received no such file. Try: check the name; annotation "
        "files are looked for in --data_dir unless their paths are absolute."
    )


def _text(path):
    if not os.path.isfile(path):
        raise no_file(path)
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Expected UTF-8 text in {path}. Received {error}. Try: save it as UTF-8."
            ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"Expected text in {path}. Received a NUL in line {line}. Try: another file.")
    return text


def _checked_names(names, path):
    again = [name for name, count in collections.Counter(names).items() if count > 1]
    if None in names or again or not names:
        raise ValueError(
            f"Expected names of classes in {path}, each once, and numbered without gaps. "
            f"Received {'a gap' if None in names else again}. Try: download the file again."
        )
    return tuple(names)
