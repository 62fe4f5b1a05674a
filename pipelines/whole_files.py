"""Files that are written whole or not at all."""

import contextlib
import os
import uuid

_PREFIX = ".partial-"


@contextlib.contextmanager
def whole_file(path):
    """Yields a path to write to, and puts the file that was written there in the place of `path`.

    Whoever opens `path` sees the old file or the new one, never a part. After an exception the old file is
    as it was, and the partial one is gone; only a kill leaves it behind, see `is_partial`. Writers of one
    `path` do not disturb each other: the last one to finish wins.

        with whole_file("manifest.jsonl") as partial, open(partial, "w", encoding="utf-8") as file:
            file.write(text)

    Args:
        path: File in a directory that exists; for a link, the file that it leads to is replaced. A path with
            `://`, such as `gs://bucket/file`, goes through `tf.io.gfile`.

    Yields:
        A path in the same directory. No other file has its name, and its suffix is that of `path`.

    Raises:
        OSError, or a `tf.errors.OpError` for paths with `://`: No file was written, or it cannot be put in
            its place.

    Cost: a local file is waited for until it is on the disk (`fsync`), so that a loss of power leaves no
    empty file either.
    """
    path = os.fspath(path)
    if "://" in path:
        target, put, remove, errors = path, *_remote_steps()
    else:
        target, put, remove, errors = os.path.realpath(path), _put_local, os.remove, OSError
    folder, suffix = target[: target.rfind("/") + 1], os.path.splitext(target)[1]
    partial = f"{folder}{_PREFIX}{uuid.uuid4().hex}{suffix}"
    try:
        yield partial
        put(partial, target)
    except BaseException:
        with contextlib.suppress(errors):  # There may be none; the first error is what counts.
            remove(partial)
        raise


def is_partial(path):
    """Returns whether a file, by its name, is one that `whole_file` did not finish."""
    return os.path.basename(path).startswith(_PREFIX)


def _put_local(partial, target):
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, target)


def _remote_steps():
    """Returns (function that puts a file in its place, function that removes it, what both may raise)."""
    import tensorflow as tf  # Programs that write local files alone do not load it.

    def put(partial, target):
        tf.io.gfile.rename(partial, target, overwrite=True)

    return put, tf.io.gfile.remove, tf.errors.OpError
