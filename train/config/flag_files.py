"""Flag files: they hold flags, one a line, and may include others, whose names are relative to theirs.

absl reads such files too, but takes names from the working directory on, so that files that include each
other would serve in one directory alone; and a repeated flag could only be added to, not replaced.
"""

import os
import re

_INCLUDE = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)


def with_flag_files(words, folder="", including=()):
    """Returns a command line in which the flags of its files stand in the place of each --flagfile.

    Of a file, those flags are left out that are given again after it.

    Args:
        words: The words of the command line, or the lines of a file.
        folder: The directory to which names of files are relative; "" is the working directory.
        including: The files that have led here.

    Raises:
        ValueError: A file cannot be read, or it includes itself; or --flagfile has no value.
    """
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*found, word, *rest]
        if include := _INCLUDE.fullmatch(word):
            name = include[1] if include[1] is not None else rest.pop(0) if rest else ""
            path = os.path.join(folder, os.path.expanduser(name.strip()))
            lines = with_flag_files(_lines(path, including), os.path.dirname(path), (*including, path))
            again = {name_of(other) for other in rest}
            found += [line for line in lines if name_of(line) not in again]
        else:
            found.append(word)
    return found


def name_of(word):
    """Returns the name of the flag that a word of a command line gives, or the word itself.

    Example:
        >>> name_of("--block=NonLocal(scaled=True)"), name_of("--noflip"), name_of("videos")
        ('block', 'noflip', 'videos')
    """
    return word.partition("=")[0].lstrip("-") if word.startswith("-") else word


def _lines(path, including):
    """Returns the flags in a file: its lines that are neither empty nor comments."""
    if any(os.path.exists(path) and os.path.samefile(path, other) for other in including):
        raise _unreadable(f"{path}, which includes itself", "leaving out that --flagfile there")
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        example = os.path.relpath(os.path.join(os.path.dirname(__file__), "..", "flagfiles", "demo.flags"))
        by = f", in {including[-1]}" if including else ""
        raise _unreadable(f"{error}{by}", f"--flagfile={example}") from None
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _unreadable(received, remedy):
    return ValueError(f"Expected a flag file that can be read. Received {received}. Try: {remedy}")
