"""Keeps TensorFlow's notes out of the terminal of a program: on CUDA, oneDNN and its own logging.

The packages that have programs call `in_programs` before anything imports TensorFlow. Its errors come as
exceptions; TF_CPP_MIN_LOG_LEVEL=0 in the environment shows all notes, as without this module.
"""

import contextlib
import importlib.machinery
import os
import re
import sys
import tempfile

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What TensorFlow's libraries print while they are loaded, whatever the level is.
_NOTE = re.compile(
    rb"[IWE]\d{4} \d|WARNING: All log messages before absl|To enable the following instructions"
)


def in_programs():
    """Hides the notes if `python -m` is about to run a program; imports by others change nothing."""
    is_program = sys.argv[:1] == ["-m"]  # While Python looks for the module that it will run.
    is_program |= (
        "--multiprocessing-fork" in sys.orig_argv and _LEVEL in os.environ
    )  # A process of a program.
    if is_program and os.environ.setdefault(_LEVEL, "3") != "0" and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow as Python does, once, and lets it be loaded without its notes."""

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            load = spec.loader.exec_module

            def load_quietly(module):
                with _without_notes():
                    load(module)

            spec.loader.exec_module = load_quietly
        return spec


@contextlib.contextmanager
def _without_notes():
    """Within the block, what is written to stderr waits; then what is no note goes there."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            for line in file:
                if not _NOTE.match(line):
                    os.write(2, line)
