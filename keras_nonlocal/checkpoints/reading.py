"""Reads checkpoint files of PyTorch and of Caffe2 without executing anything in them."""

import contextlib
import mmap
import os
import stat

from keras_nonlocal.checkpoints import numpy_pickles, torch_files
from keras_nonlocal.checkpoints.plain import CheckpointError, brief, settle, visible
from keras_nonlocal.checkpoints.unpickling import Unpickler

__all__ = ["CheckpointError", "open_file", "read_caffe2", "read_torch"]

_ZIP = b"PK\x03\x04"
_TAR = slice(257, 262)
_KINDS = {
    "a directory": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
_FIRST_OPCODES = (b"\x80", b"(", b"}", b"]", b"c")  # that pickles of these libraries start with


def read_torch(path, max_bytes=8 * 2**30):
    """Reads a file of `torch.save`, of either layout, whatever it is called.

    Args:
        path: the file, often named .pth, .pt, .pyth or .pth.tar.
        max_bytes: the largest size in bytes that is read.

    Returns:
        What was saved: dicts, lists, tuples, numbers and strings, with a read-only NumPy array in the place
        of each tensor (bfloat16 as float32). Arrays share memory where tensors shared a storage, and may be
        views of the file: do not change it while they are in use.

    Raises:
        CheckpointError: another format, a damaged file, or one that holds more than these.
        OSError: the file cannot be opened.
    """
    with _one_line(path):
        data = _mapped(path, max_bytes)
        if data[:4] == _ZIP:
            return torch_files.read_zip(path, len(data))
        if data[_TAR] == b"ustar":
            raise CheckpointError(
                "Expected a file of PyTorch 0.1.10 or later. Received a tar archive, as earlier ones wrote. "
                "Try: torch.load and torch.save with a later one."
            )
        _check_start(data, "a file of torch.save")
        return torch_files.read_legacy(data)


def read_caffe2(path, max_bytes=8 * 2**30):
    """Reads a pickle of NumPy arrays, as Caffe2 programs write it under Python 2.

    Args:
        path: the file, usually named .pkl.
        max_bytes: the largest size in bytes that is read.

    Returns:
        What was pickled: dicts, lists, tuples, numbers, strings and read-only arrays. Strings of Python 2
        are read as latin1.

    Raises:
        CheckpointError: another format, a damaged file, or one that holds more than these.
        OSError: the file cannot be opened.
    """
    with _one_line(path):
        data = _mapped(path, max_bytes)
        _check_start(data, "a pickle of Caffe2")
        unpickler = Unpickler(data, numpy_pickles.stand_ins())
        tree = unpickler.load()
        if unpickler.position < len(data):
            raise CheckpointError(
                f"Expected a pickle alone. Received {len(data) - unpickler.position} bytes behind it, as in "
                "files of torch.save. Try: one of its formats."
            )
        return settle(tree)


@contextlib.contextmanager
def _one_line(path):
    """Turns every error that a file causes into a CheckpointError of one line with the file's name."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except CheckpointError as error:
        reason = str(error)
    except Exception as error:
        found = visible(f"{type(error).__name__}: {error}".replace("\n", " "))
        reason = (
            f"Expected a sound checkpoint. Received {found}. Try: downloading it again, or another format."
        )
    else:
        return
    raise CheckpointError(" ".join(f"{os.fspath(path)!r}: {reason}".splitlines()))


def _mapped(path, max_bytes):
    """Returns a file as a read-only memory map, which reads only what is used."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not 0 < size <= max_bytes:
            raise CheckpointError(
                f"Expected a checkpoint of 1 to {max_bytes} bytes. Received {size}. Try: the file that the "
                "training program wrote, without its optimizer."
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_file(path):
    """Returns a regular file, opened to read its bytes.

    Raises:
        CheckpointError: something else; a device might never end, and a pipe might never begin.
        OSError: the file cannot be opened.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for name, test in _KINDS.items() if test(mode)), "something else")
        raise CheckpointError(
            f"Expected a file in {os.fspath(path)!r}. Received {kind}. Try: the file that the training "
            "program wrote."
        )
    return open(path, "rb")


def _check_start(data, expected):
    if data[:1] not in _FIRST_OPCODES:
        raise CheckpointError(
            f"Expected {expected}. Received a file that starts with {brief(data[:16])}. Try: another format, "
            "or downloading it again."
        )
