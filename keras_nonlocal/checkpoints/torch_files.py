"""The two layouts of PyTorch's files: a zip archive since 1.6, pickles followed by raw storages before."""

import dataclasses
import functools
import math
import zipfile

import numpy as np

from keras_nonlocal.checkpoints import numpy_pickles
from keras_nonlocal.checkpoints.plain import CheckpointError, Pending, brief, fill, settle
from keras_nonlocal.checkpoints.unpickling import StandIn, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_BFLOAT16 = "torch.BFloat16Storage"
_MAX_RANK = 32
# bfloat16 is the upper half of a float32.
_DTYPES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    _BFLOAT16: "u2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}


@dataclasses.dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int  # how many values it holds

    @property
    def nbytes(self):
        return self.count * np.dtype(_DTYPES[self.kind]).itemsize


def read_zip(path, size):
    """Returns the tree in an archive of `size` bytes."""
    with zipfile.ZipFile(path) as archive:
        root = _check_members(archive, size)
        order = archive.read(f"{root}/byteorder") if f"{root}/byteorder" in archive.namelist() else b"little"
        if order not in (b"little", b"big"):
            raise ValueError(f"the byte order {brief(order)}")

        @functools.cache
        def load(storage):
            data = archive.read(f"{root}/data/{storage.key}")
            if len(data) != storage.nbytes:
                raise CheckpointError(
                    f"Expected {storage.nbytes} bytes in storage {brief(storage.key)}. Received {len(data)}. "
                    "Try: downloading it again."
                )
            return _numbers(data, storage, "<" if order == b"little" else ">")

        pickled = archive.read(f"{root}/data.pkl")
        return settle(Unpickler(pickled, _stand_ins(load), _persistent({})).load())


def _check_members(archive, size):
    """Returns the folder of data.pkl, or raises CheckpointError unless torch.save writes such archives."""
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    # What is read is then no larger than the file: no member is compressed or shares bytes with another.
    if total > size or any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members):
        raise CheckpointError(
            f"Expected an archive as torch.save writes it, of at most {size} bytes, neither compressed nor "
            f"encrypted. Received members of {total} bytes. Try: torch.load and torch.save once more."
        )
    roots = [m.filename.removesuffix("/data.pkl") for m in members if m.filename.endswith("/data.pkl")]
    if any(m.filename.endswith("/constants.pkl") or "/code/" in m.filename for m in members):
        raise CheckpointError(
            "Expected an archive of tensors. Received one of TorchScript, which holds a program. Try: saving "
            "torch.jit.load(FILE).state_dict() with torch.save, where the program is trusted."
        )
    if len(roots) != 1 or "/" in roots[0]:
        raise CheckpointError(
            f"Expected an archive of torch.save, with one data.pkl in a folder. Received {len(roots)} among "
            f"{len(members)} members. Try: the file that the training program wrote."
        )
    return roots[0]


def read_legacy(data):
    """Returns the tree in a file of the older layout, given as bytes or mmap; its arrays are views of it."""
    position = 0
    for expected in (MAGIC, _PROTOCOL):
        # Arrays are accepted here, so that a pickle of Caffe2 is not reported as a hostile file.
        header = Unpickler(data, numpy_pickles.stand_ins(), position=position)
        if (received := header.load()) != expected:
            raise CheckpointError(
                f"Expected a file of torch.save, with the number {expected}. Received {brief(received)}. "
                "Try: another format."
            )
        position = header.position
    sizes = Unpickler(data, {}, position=position)
    sizes.load()  # the sizes of C's integers, on which the storages do not depend
    storages, arrays = {}, {}
    body = Unpickler(data, _stand_ins(arrays.__getitem__), _persistent(storages), sizes.position)
    tree = body.load()
    tail = Unpickler(data, {}, position=body.position)
    keys = tail.load()
    if type(keys) is not list or any(type(key) is not str for key in keys) or {*keys} != storages.keys():
        raise ValueError(f"the storages {brief(keys)} for {brief([*storages])}")
    for key in keys:
        storage = storages[key]
        count = tail.number("<q")
        if count != storage.count:
            raise CheckpointError(
                f"Expected {storage.count} numbers in storage {brief(key)}. Received {count}. Try: "
                "downloading it again."
            )
        arrays[storage] = _numbers(data, storage, "<", tail.skip(storage.nbytes))
    return settle(tree)


def _persistent(storages):
    """Returns the function that turns persistent ids into storages; it enters them into a dict by key."""

    def load(saved):
        if type(saved) is not tuple or saved[0] != "storage":
            raise TypeError(f"the persistent id {brief(saved)}")
        _, kind, key, _, count, *view = saved
        known = type(kind) is StandIn and kind.name in _DTYPES and type(key) is str and view in ([], [None])
        if not known or type(count) is not int or count < 0:
            raise TypeError(f"the storage {brief(saved)}")
        storage = _Storage(kind.name, key, count)
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"two kinds of storage {brief(key)}")
        return storage

    return load


def _numbers(data, storage, order, offset=0):
    """Returns the flat, read-only array of a storage in this machine's byte order."""
    dtype = np.dtype(order + _DTYPES[storage.kind])
    numbers = np.frombuffer(data, dtype, storage.count, offset).astype(dtype.newbyteorder("="), copy=False)
    if storage.kind == _BFLOAT16:
        numbers = (numbers.astype("u4") << 16).view("f4")
    numbers.flags.writeable = False
    return numbers


def _stand_ins(load):
    """Returns {dotted name: stand-in} for tensors whose flat storage `load` returns."""

    def tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
        if type(storage) is not _Storage or metadata:  # metadata say that the values must be negated
            raise TypeError(f"a tensor of {brief(storage)} with {brief(metadata)}")
        _check_inside(storage, offset, size, stride)
        return Pending(lambda: _strided(load(storage), offset, size, stride))

    return {
        **numpy_pickles.stand_ins(),
        **dict.fromkeys(_DTYPES),
        "collections.OrderedDict": _dictionary,
        "torch.Size": _size,
        "torch.device": _device,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": lambda data, requires_grad, hooks: data,
    }


def _dictionary(pairs=None):
    """Returns the dict of a list of pairs, as Python 2 writes it, or an empty dict for None."""
    if pairs is None:
        return {}
    if type(pairs) is not list:
        raise TypeError(f"a dict of {brief(pairs)}")
    result = fill({}, pairs)
    pairs.clear()  # or a small file could ask for a million dicts of one list
    return result


def _size(sides):
    if type(sides) is not tuple:
        raise TypeError(f"the size {brief(sides)}")
    return sides


def _device(kind, *index):
    # A long name could be joined with itself, or be copied again and again.
    if type(kind) is not str or len(kind) > 100 or [type(part) for part in index] not in ([], [int]):
        raise TypeError(f"the device {brief((kind, *index))}")
    return ":".join(map(str, (kind, *index)))


def _check_inside(storage, offset, size, stride):
    """Raises CheckpointError unless a tensor lies inside its storage and holds no more values than it."""
    inside = type(size) is type(stride) is tuple and len(size) == len(stride) <= _MAX_RANK
    inside = inside and all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if inside and math.prod(size):
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        inside = last < storage.count and math.prod(size) <= storage.count
    if not inside:
        raise CheckpointError(
            f"Expected a tensor inside its storage of {storage.count} numbers. Received offset "
            f"{brief(offset)}, size {brief(size)}, stride {brief(stride)}. Try: downloading it again, or "
            "saving the clone() of what was expanded."
        )


def _strided(numbers, offset, size, stride):
    """Returns a tensor as a view of its flat array."""
    if not math.prod(size):
        return np.zeros(size, numbers.dtype)
    step = numbers.itemsize
    return np.ndarray(size, numbers.dtype, numbers, offset * step, [side * step for side in stride])
