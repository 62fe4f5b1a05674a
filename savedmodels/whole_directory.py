"""Directories that appear whole, or not at all."""

import contextlib
import os
import shutil
import tempfile


@contextlib.contextmanager
def whole_directory(output):
    """Gives an empty directory beside `output`, and that name when the block ends without an error.

    After an error, neither directory is there. Missing parents of `output` are made and stay.

    Args:
        output: Path of the directory to write.

    Raises:
        FileExistsError: `output` exists already; the block does not run.

    Example:
        >>> place = os.path.join(tempfile.mkdtemp(), "model", "1")
        >>> with whole_directory(place) as partial:
        ...     os.path.exists(place), os.listdir(partial)
        (False, [])
        >>> os.listdir(os.path.dirname(place))
        ['1']
    """
    if os.path.exists(output):
        raise FileExistsError(
            f"Expected a new directory to write to. Received {output!r}, which exists. Try: --output=OTHER, "
            "for TF Serving the next version number."
        )
    parent = os.path.dirname(os.path.abspath(output))
    os.makedirs(parent, exist_ok=True)
    partial = tempfile.mkdtemp(prefix=".partial-", dir=parent)
    try:
        yield partial
        os.chmod(partial, 0o755)  # a temporary directory is closed to other users, a served model is not
        os.rename(partial, output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
