"""How a format of annotations describes itself to the command `python -m pipelines.manifest import`."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Flag(NamedTuple):
    """A flag of the command, which is at the same time an argument of the reader.

    Attributes:
        name: Name of both.
        help: One or two sentences for `--help`, which adds the default.
        default: Value without the flag. Its type is that of the flag; None is a text that is not given.
    """

    name: str
    help: str
    default: Any = None


class Format(NamedTuple):
    """A format: its reader, and what the command has to know to call it.

    Attributes:
        read: Function (data_dir, split's flag, other flags, keep_bad) -> `Manifest`, all by name.
        help: One sentence that says whose format it is.
        data_dir: The help of `--data_dir`, which every format requires.
        split: The flag that chooses a split. It may be given several times, and must be given if it has no
            default.
        options: Tuple of the other flags, which may all be left out.
        shares_classes: Whether the reader takes `classes`, which are those of the first split for the others.
    """

    read: Callable
    help: str
    data_dir: str
    split: Flag
    options: tuple = ()
    shares_classes: bool = False

    @property
    def flags(self):
        """The names of all flags."""
        return ("data_dir", self.split.name, *(flag.name for flag in self.options))
