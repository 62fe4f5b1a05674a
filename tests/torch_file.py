"""Writes files of PyTorch, without PyTorch."""

import pickle
import zipfile

import numpy as np


def write_torch(path, tensors, level="state_dict"):
    """Writes float32 arrays as torch.save does, {level: {name: tensor}, "epoch": 3}."""

    def plain(value):
        return pickle.dumps(value, protocol=2)[2:-1]

    def tensor(key, array):
        storage = b"(" + plain("storage") + b"ctorch\nFloatStorage\n" + plain(key) + plain("cpu")
        strides = tuple(step // 4 for step in array.strides)
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + plain(array.size) + b"tQ" + plain(0)
            + plain(array.shape) + plain(strides) + plain(False) + b"ccollections\nOrderedDict\n)RtR"
        )  # fmt: skip

    with zipfile.ZipFile(path, "w") as archive:
        body = b"\x80\x02}(" + plain("epoch") + plain(3) + plain(level) + b"}("
        for number, (name, array) in enumerate(tensors.items()):
            body += plain(name) + tensor(str(number), np.ascontiguousarray(array))
            archive.writestr(f"archive/data/{number}", array.tobytes())
        archive.writestr("archive/data.pkl", body + b"uu.")
        archive.writestr("archive/version", b"3\n")
