"""Files of PyTorch and of Caffe2 are read as they were written; hostile and damaged ones end in one line.

tests/fixtures/torch_zip.pth is of torch 2.13; torch_legacy.pth is, _use_new_zipfile_serialization=False:

    model = nn.DataParallel(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    for number, tensor in enumerate(model.state_dict().values()):
        tensor.fill_(number)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.75)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    x = torch.arange(20.0).reshape(4, 5) / 4
    torch.save({"epoch": 3, "arch": "resnet50", "best_prec1": torch.tensor(71.5),
        "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(),
        "float": x, "transposed": x.t(), "rows": x[1:], "column": x[::2, 1],
        "half": x.half(), "bfloat16": x.bfloat16(), "double": x.double(), "long": x.long(), "int": x.int(),
        "short": x.short(), "char": x.char(), "byte": x.byte(), "bool": x > 2,
        "parameter": nn.Parameter(x), "empty": x[:0], "size": x.size(), "device": torch.device("cuda:0"),
        "numpy": x.numpy(), "scalar": x.double().numpy().max()}, path)

caffe2_protocol0.pkl and caffe2_protocol2.pkl are cPickle's of Python 2.7.18, of the values in CAFFE2, with
classes under NumPy's names in the place of NumPy that reduce as ndarray, dtype and scalar do.
"""

import collections
import contextlib
import copyreg
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from released import FIXTURES

from keras_nonlocal.checkpoints import torch_files
from keras_nonlocal.checkpoints.reading import CheckpointError, read_caffe2, read_torch

X = np.arange(20, dtype="float32").reshape(4, 5) / 4
TORCH = {
    "epoch": 3,
    "arch": "resnet50",
    "best_prec1": np.float32(71.5),
    "state_dict": {
        "module.0.weight": np.full((3, 2), -0.5, "float32"),  # the step of the optimizer: 0.5
        "module.0.bias": np.full(3, 0.5, "float32"),
        "module.1.weight": np.full(3, 1.5, "float32"),
        "module.1.bias": np.full(3, 2.5, "float32"),
        "module.1.running_mean": np.full(3, 4, "float32"),
        "module.1.running_var": np.full(3, 5, "float32"),
        "module.1.num_batches_tracked": np.int64(6),
    },
    "float": X,
    "transposed": X.T,
    "rows": X[1:],
    "column": X[::2, 1],
    "half": X.astype("float16"),
    "bfloat16": X,  # has few enough digits
    "double": X.astype("float64"),
    "long": X.astype("int64"),
    "int": X.astype("int32"),
    "short": X.astype("int16"),
    "char": X.astype("int8"),
    "byte": X.astype("uint8"),
    "bool": X > 2,
    "parameter": X,
    "empty": X[:0],
    "size": (4, 5),
    "device": "cuda:0",
    "numpy": X,
    "scalar": 4.75,
}
CAFFE2 = {
    "blobs": {
        "conv1_w": -(np.arange(128) * 1.1).astype("float32").reshape(2, 64),
        "model_iter": 400000,
        "lr": np.float32(0.01),
        "bytes": np.arange(256, dtype="uint8"),
        "big": np.array([1, -2, 2**40]),
        "long": 2**70,
        "t": True,
        "f": -0.25,
        "n": None,
        "scalar": 2.5,
        "tuple": (1, 2, 3, 4),
        "quotes": "it's \"\\ \n",
        "u": "\u00e9\n",
    }
}
STORED = {
    "torch_zip.pth": read_torch,
    "torch_legacy.pth": read_torch,
    "caffe2_protocol0.pkl": read_caffe2,
    "caffe2_protocol2.pkl": read_caffe2,
}


def check_same(found, expected):
    if isinstance(expected, np.ndarray | np.generic):
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert type(found) is dict
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            check_same(found[key], value)
    else:
        assert type(found) is type(expected)
        assert found == expected


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_files_of_torch(name):
    tree = read_torch(FIXTURES / name)
    optimizer = tree.pop("optimizer")
    check_same(tree, TORCH)
    assert optimizer["param_groups"][0]["params"] == [0, 1, 2, 3]
    np.testing.assert_array_equal(optimizer["state"][1]["momentum_buffer"], np.ones(3))
    assert np.shares_memory(tree["float"], tree["transposed"])
    assert not tree["bfloat16"].flags.writeable


@pytest.mark.parametrize("protocol", [0, 2])
def test_files_of_caffe2(protocol):
    check_same(read_caffe2(FIXTURES / f"caffe2_protocol{protocol}.pkl"), CAFFE2)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_python_3(tmp_path, protocol):
    arrays = {
        "big": np.arange(6, dtype=">f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(8, dtype="int16").reshape(2, 4)[:, ::2],
        "point": np.array(3, "uint8"),
        "empty": np.zeros((0, 3), "float16"),
        "bool": np.array([True, False]),
    }
    tree = {**arrays, "list": [1, 2.5, "x", None, True, (), {}], "scalar": np.float64(0.5), "bytes": b"\xff"}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree, protocol))
    arrays["big"] = arrays["big"].astype("float32")
    check_same(read_caffe2(tmp_path / "x.pkl"), {**tree, **arrays, "scalar": 0.5})


def test_an_ordered_dict_of_python_2_with_attributes(tmp_path):
    body = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x05ee\x85R}U\x09_metadata}sb."
    assert read_torch(as_zip(tmp_path, body)) == {"a": 5}


def test_a_tensor_on_a_gpu(tmp_path):
    data = (FIXTURES / "torch_legacy.pth").read_bytes().replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0")
    (tmp_path / "gpu.pth").write_bytes(data)
    assert read_torch(tmp_path / "gpu.pth")["best_prec1"] == 71.5


def test_an_archive_of_a_big_endian_machine(tmp_path):
    members = {
        "x/data.pkl": tensor_pickle(2, 0, (2,), (1,)),
        "x/data/0": struct.pack(">2f", 1, -2.5),
        "x/byteorder": b"big",
    }
    check_same(read_torch(write_zip(tmp_path, members)), np.array([1, -2.5], "float32"))


def test_round_trip(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    video = torch.randn(2, 3, 4, 5)
    tree = {
        "permuted": video.permute(1, 3, 0, 2),
        "bfloat16": video.bfloat16(),
        "conv": torch.nn.Conv3d(2, 4, (3, 1, 1)).state_dict(),
        "history": [torch.tensor(value) for value in range(3)],
    }
    for zipped in (True, False):
        torch.save(tree, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        found = read_torch(tmp_path / "x.pth")
        np.testing.assert_array_equal(found["permuted"], tree["permuted"].numpy())
        np.testing.assert_array_equal(found["bfloat16"], tree["bfloat16"].float().numpy())
        assert [int(value) for value in found["history"]] == [0, 1, 2]
        for key, value in tree["conv"].items():
            np.testing.assert_array_equal(found["conv"][key], value.numpy())


# Hostile and damaged files.


def write_zip(tmp_path, members, **options):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def as_zip(tmp_path, body, storages=None):
    members = {f"x/data/{key}": data for key, data in (storages or {}).items()}
    return write_zip(tmp_path, {"x/data.pkl": body, **members})


def as_legacy(tmp_path, body, storages=None):
    storages = storages or {}
    headers = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {})]
    tail = [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join([*headers, body, pickle.dumps([*storages], 2), *tail]))
    return path


def as_caffe2(tmp_path, body):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + body)
    return path


LAYOUTS = {as_zip: read_torch, as_legacy: read_torch, as_caffe2: read_caffe2}
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)


def refusal(read, path, **options):
    """The one line in which reading a file ends."""
    with pytest.raises(CheckpointError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 1000 + len(str(path))
    assert text.startswith(f"{os.fspath(path)!r}: Expected ")
    assert "Received " in text
    assert "Try: " in text
    return text


def opcodes(value):
    """The pickle of a value without its start and stop."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_pickle(count, offset, size, stride, kind="torch\nFloatStorage", tail=b"\x89Nt"):
    """The pickle of a tensor in a storage of `count` numbers with the key "0"."""
    storage = (
        b"(" + opcodes("storage") + f"c{kind}\n".encode() + opcodes("0") + opcodes("cpu") + opcodes(count)
    )
    view = opcodes(offset) + opcodes(size) + opcodes(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + view + tail + b"R."


def array_pickle(dtype, state, data=b"x" * 8):
    """The pickle of an array of shape (1,)."""
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    head += b"(K\x01K\x01\x85cnumpy\ndtype\n"
    return head + opcodes((dtype, 0, 1)) + b"R" + opcodes(state) + b"b\x89" + opcodes(data) + b"tb."


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def nested(command):
    return pickle.dumps([{"a": Call(collections.OrderedDict, [["b", Call(os.system, command)]])}], 2)


def chained(command):
    imported = b"c__builtin__\n__import__\n(S'os'\ntR"
    return b"c__builtin__\ngetattr\n(" + imported + b"S'system'\ntR(" + opcodes(command) + b"tR."


COMMAND_ATTACKS = {  # the pickle that runs a command, the name in it that is refused
    "reduce": (lambda command: b"cos\nsystem\n(" + opcodes(command) + b"tR.", "'os.system'"),
    "nested": (nested, f"'{os.name}.system'"),
    "stack_global": (
        lambda command: pickle.dumps(Call(eval, f"__import__('os').system({command!r})"), 4),
        "'builtins.eval'",
    ),
    "chain": (chained, "'__builtin__.getattr'"),
    "inst": (lambda command: b"(" + opcodes(command) + b"ios\nsystem\n.", "'os.system'"),
    "obj": (lambda command: b"(cos\nsystem\n" + opcodes(command) + b"o.", "'os.system'"),
    "build": (
        lambda command: b"cos\nsystem\n0" + pickle.dumps(Call(os.system, command), 2)[2:-1] + b"}b.",
        "'os.system'",
    ),
}


@layouts
@pytest.mark.parametrize("attack", COMMAND_ATTACKS)
def test_commands_are_refused_by_name_and_do_not_run(tmp_path, layout, attack):
    body, name = COMMAND_ATTACKS[attack]
    sentinel = tmp_path / "ran"
    body = body(f"touch {sentinel}")
    text = refusal(LAYOUTS[layout], layout(tmp_path, body))
    # Caffe2 has no ordered dicts.
    assert f"names {name}, which" in text or "names 'collections.OrderedDict', which" in text
    assert layout is as_caffe2 or name in text
    assert not sentinel.exists()
    with contextlib.suppress(AttributeError, TypeError):
        pickle.loads(body)
    assert sentinel.exists()  # So the attack is one.


@layouts
def test_the_extension_registry_is_not_asked(tmp_path, layout):
    copyreg.add_extension("os", "system", 200)
    try:
        body = b"\x82\xc8(" + opcodes(f"touch {tmp_path / 'ran'}") + b"tR."
        assert r"opcode b'\x82'" in refusal(LAYOUTS[layout], layout(tmp_path, body))
        assert not (tmp_path / "ran").exists()
        pickle.loads(body)
        assert (tmp_path / "ran").exists()
    finally:
        copyreg.remove_extension("os", "system", 200)


NESTED = b"]" + b"\x85" * 5000  # a list in 5000 tuples
DOUBLED = b"]" + b"q\x00h\x00\x86" * 60  # 2^60 references to a list
REFUSED = {  # name: the pickle, what its refusal says
    "torch.hub": (b"ctorch.hub\nload\n(S'a'\ntR.", "names 'torch.hub.load', which"),
    "attributes of a stand-in": (
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93.",
        r"names 'numpy.core.multiarray._reconstruct.__globals__', which",
    ),
    "newobj": (b"cnumpy\ndtype\nS'f4'\n\x85\x81.", r"opcode b'\x81'"),
    "newobj_ex": (b"cnumpy\ndtype\n)}\x92.", r"opcode b'\x92'"),
    "obj": (b"(cnumpy\ndtype\nS'f4'\no.", "opcode b'o'"),
    "build on a stand-in": (b"cnumpy\ndtype\n}S'value'\nK\x01sb.", "a state for StandIn(name='numpy.dtype'"),
    "build on a list": (b"]}b.", "a state for []"),
    "slots of a dtype": (
        b"cnumpy\ndtype\n(S'f4'\nK\x00K\x01tR(N}S'_code'\nS'O8'\nstb.",
        "Received ValueError",
    ),
    "call of a dict": (b"})R.", "a call of {}"),
    "call of a string": (b"S'os.system'\n)R.", "a call of 'os.system'"),
    "call of a mere name": (b"cnumpy\nndarray\n)R.", "a call of StandIn(name='numpy.ndarray'"),
    "call without a tuple": (b"cnumpy\ndtype\nS'f4'\nR.", "a call of StandIn(name='numpy.dtype'"),
    "a stand-in for a value": (b"(S'a'\ncnumpy\ndtype\nd.", "in the place of a value"),
    "dtype for a value": (b"cnumpy\ndtype\n(S'f4'\nK\x00K\x01tR.", "in the place of a value"),
    "array without numbers": (b"cnumpy.core.multiarray\n_reconstruct\n)R.", "an array without its numbers"),
    "objects": (array_pickle("O8", (3, "|", None, None, None, -1, -1, 63)), "one of dtype 'O8'"),
    "strings": (array_pickle("S8", (3, "|", None, None, None, 8, 1, 0)), "one of dtype 'S8'"),
    "complex": (array_pickle("c8", (3, "<", None, None, None, -1, -1, 0)), "one of dtype 'c8'"),
    "records": (array_pickle("V8", (3, "|", None, ("a",), {}, 8, 1, 16)), "one of dtype 'V8'"),
    "fields": (array_pickle("f8", (3, "|", None, ("a",), {}, 8, 1, 16)), "the state (3, '|', None, ('a',)"),
    "byte order": (array_pickle("f8", (3, "<>", None, None, None, -1, -1, 0)), "the state (3, '<>', None"),
    "too few bytes": (
        array_pickle("f4", (3, "<", None, None, None, -1, -1, 0)),
        "an array of shape (1,) and dtype float32. Received 8.",
    ),
    "no bytes": (array_pickle("f8", (3, "<", None, None, None, -1, -1, 0), [1] * 8), "of an array's bytes"),
    "other codec": (b"c_codecs\nencode\nS'a'\nS'rot13'\n\x86R.", "bytes in the encoding 'rot13'"),
    "bytes of a length": (b"c__builtin__\nbytes\nJ\x00\x00\x00\x7f\x85R.", "bytes_of_nothing() takes 0"),
    "nesting": (NESTED + b".", "containers at most 100 deep"),
    "itself": (
        b"]q\x00h\x00a.",
        "containers at most 100 deep. Received deeper ones, or one that contains itself",
    ),
    "shared items as a name": (DOUBLED + b"K\x00\x93.", "the name 0 in (("),
    "shared items as a key": (b"}" + DOUBLED + b"Ns.", "the key (("),
    "many bytes": (b"\x8e" + struct.pack("<Q", 2**60) + b"x.", f"Expected {2**60} bytes from byte"),
    "many characters": (
        b"\x8d" + struct.pack("<Q", 2**64 - 1) + b"x.",
        f"Expected {2**64 - 1} bytes from byte",
    ),
    "bytearray": (b"\x96" + struct.pack("<Q", 2**62) + b"x.", f"Expected {2**62} bytes from byte"),
    "negative count": (b"T" + struct.pack("<i", -1) + b"x.", "Expected -1 bytes from byte"),
    "long integer": (b"\x8b\x00\x01\x00\x00" + bytes(256) + b".", r"opcode b'\x8b'"),
    "digits": (b"I" + b"9" * 10000 + b"\n.", "Received ValueError"),
    "letters": (b"F" + b"x" * 5000 + b"\n.", "could not convert string to float"),
    "empty stack": (b"0.", "opcode b'0'"),
    "nothing left": (b"(t0.", "opcode b'0'"),
    "no mark": (b"t.", "Received IndexError"),
    "no items": (b"\x86.", "a value of an empty stack"),
    "no memo": (b"h\x07.", "Received KeyError: 7"),
    "odd dict": (b"(S'a'\nd.", "Received ValueError"),
    "item for a dict": (b"}K\x01a.", "an item for {}"),
    "key for a list": (b"](K\x01K\x01u.", "a key for []"),
    "text persistent id": (b"Pstorage\n.", "opcode b'P'"),
    "no line feed": (b"cos", "bytes from byte"),
    "long name": (b"cos\n" + b"x" * 10**6 + b"\n.", "names 'os.xxx"),
    "surrogates and line feeds": (
        b"\x80\x04\x8c\x02\n\n\x8c\x05\xe2\x80\xa8\xc2\x85\x93.",
        r"names '\n\n.\u2028\x85'",
    ),
}


@layouts
@pytest.mark.parametrize("name", REFUSED)
def test_what_tensors_do_not_need_is_refused_in_one_line(tmp_path, layout, name):
    body, words = REFUSED[name]
    assert words in refusal(LAYOUTS[layout], layout(tmp_path, body))


@layouts
def test_odd_pickles_without_harm(tmp_path, layout):
    read = LAYOUTS[layout]
    assert read(layout(tmp_path, b"\x80\x02}r\xff\xff\xff\xff.")) == {}  # memo at 2^32 - 1
    assert read(layout(tmp_path, b"}p" + b"9" * 30 + b"\n.")) == {}
    shared = read(layout(tmp_path, DOUBLED + b"."))
    assert shared[0] is shared[1]


WIDE = 0
for _ in range(6):
    WIDE = [WIDE] * 6
TENSORS = {  # name: the pickle of a tensor in the storage of 6 numbers that is there, what its refusal says
    "offset": (tensor_pickle(6, 6, (1,), (1,)), "inside its storage of 6 numbers. Received offset 6"),
    "negative offset": (tensor_pickle(6, -1, (1,), (1,)), "Received offset -1"),
    "negative size": (tensor_pickle(6, 0, (-1, -6), (1, 1)), "size (-1, -6)"),
    "negative stride": (tensor_pickle(6, 5, (2,), (-1,)), "stride (-1,)"),
    "beyond": (tensor_pickle(6, 1, (2, 3), (3, 1)), "size (2, 3), stride (3, 1)"),
    "expanded": (tensor_pickle(6, 0, (2**40,), (0,)), f"size ({2**40},), stride (0,)"),
    "overlapping": (tensor_pickle(6, 0, (3, 3), (1, 1)), "size (3, 3), stride (1, 1)"),
    "lists": (tensor_pickle(6, 0, [2], [1]), "size [2], stride [1]"),
    "wide": (tensor_pickle(6, 0, WIDE, (1,)), "Received offset 0, size [[[..."),
    "floats": (tensor_pickle(6, 0, (2.0,), (1,)), "size (2.0,)"),
    "rank": (tensor_pickle(6, 0, (1,) * 40, (1,) * 40), "Received offset 0, size (1, 1,"),
    "no stride": (tensor_pickle(6, 0, (2,), ()), "stride ()"),
    "negated": (tensor_pickle(6, 0, (2,), (1,), tail=b"\x89N}S'neg'\n\x88st"), "with {'neg': True}"),
    "storage larger than the file": (tensor_pickle(2**50, 0, (2**50,), (1,)), "in storage '0'. Received "),
    "storage larger than its data": (tensor_pickle(7, 0, (2,), (1,)), "in storage '0'. Received "),
    "negative storage": (tensor_pickle(-6, 0, (2,), (1,)), "the storage ('storage'"),
    "complex": (
        tensor_pickle(3, 0, (2,), (1,), "torch\nComplexFloatStorage"),
        "names 'torch.ComplexFloatStorage'",
    ),
    "other kind": (tensor_pickle(3, 0, (2,), (1,), "torch\nSize"), "the storage ('storage'"),
    "other persistent id": (b"(S'module'\nctorch\nSize\nS'x'\nS'y'\ntQ.", "the persistent id ('module'"),
    "empty persistent id": (b")Q.", "IndexError"),
    "storage for a value": (b"(S'storage'\nctorch\nFloatStorage\nS'0'\nNK\x06tQ.", "in the place of a value"),
    "tensor of a string": (b"ctorch._utils\n_rebuild_tensor\n(S'0'\nK\x00))tR.", "a tensor of '0'"),
    "size of a string": (b"ctorch\nSize\nS'abc'\n\x85R.", "the size 'abc'"),
    "device of a list": (b"ctorch\ndevice\n]\x85R.", "the device ([],)"),
    "dict of a string": (b"ccollections\nOrderedDict\nS'abc'\n\x85R.", "a dict of 'abc'"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", TENSORS)
def test_tensors_stay_inside_their_storage(tmp_path, name, zipped):
    body, words = TENSORS[name]
    if zipped:
        path = as_zip(tmp_path, body, {"0": bytes(24)})
    else:
        path = as_legacy(tmp_path, body, {"0": bytes(24)})
    assert words in refusal(read_torch, path)


def test_a_storage_that_claims_more_than_the_file_has(tmp_path):
    path = as_legacy(tmp_path, tensor_pickle(2**50, 0, (2**50,), (1,)), {"0": bytes(24)})
    data = path.read_bytes().replace(struct.pack("<q", 6), struct.pack("<q", 2**50))
    path.write_bytes(data)
    assert f"Expected {2**52} bytes from byte {len(data) - 24} on. Received 24" in refusal(read_torch, path)


def test_a_storage_of_two_kinds(tmp_path):
    halves = tensor_pickle(6, 0, (6,), (1,))[:-1], tensor_pickle(6, 0, (6,), (1,), "torch\nIntStorage")[:-1]
    path = as_zip(tmp_path, halves[0] + halves[1] + b"\x86.", {"0": bytes(24)})
    assert "two kinds of storage '0'" in refusal(read_torch, path)


def test_one_list_makes_no_second_dict(tmp_path):
    body = b"(](](U\x01aK\x05eep0\n0" + b"ccollections\nOrderedDict\ng0\n\x85R" * 2 + b"t."
    assert "opcode b'0'" in refusal(read_torch, as_zip(tmp_path, body))
    assert read_torch(as_zip(tmp_path, body.replace(b"p0\n0", b"p0\n"))) == ([], {"a": 5}, {})


def test_archives_of_other_kinds(tmp_path):
    tensor, data = tensor_pickle(6, 0, (6,), (1,)), bytes(24)
    good = {"x/data.pkl": tensor, "x/data/0": data}
    np.testing.assert_array_equal(read_torch(write_zip(tmp_path, good)), np.zeros(6))
    for members, words in [
        ({"x/data/0": data}, "Received 0 among 1 members"),
        ({"data.pkl": tensor, "data/0": data}, "Received 0 among 2 members"),
        (good | {"y/data.pkl": tensor}, "Received 2 among 3 members"),
        ({"x/y/data.pkl": tensor}, "with one data.pkl in a folder"),
        (good | {"x/constants.pkl": b""}, "TorchScript"),
        (good | {"x/code/__torch__.py": b""}, "TorchScript"),
        (good | {"x/byteorder": b"middle"}, "the byte order b'middle'"),
        ({"x/data.pkl": tensor}, "no item named 'x/data/0'"),
        (good | {"x/data/0": data[1:]}, "Expected 24 bytes in storage '0'. Received 23"),
        (good | {"x/data/0": data + b"x"}, "Expected 24 bytes in storage '0'. Received 25"),
        (good | {"x/data.pkl": b""}, "Expected 1 bytes from byte 0 on. Received 0"),
    ]:
        assert words in refusal(read_torch, write_zip(tmp_path, members))
    small = write_zip(tmp_path, good, compression=zipfile.ZIP_DEFLATED)
    assert "neither compressed nor" in refusal(read_torch, small)
    bomb = write_zip(tmp_path, good | {"x/data/0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED)
    assert "neither compressed nor encrypted. Received members of 100" in refusal(read_torch, bomb)


def test_altered_archives(tmp_path):
    good = as_zip(tmp_path, tensor_pickle(6, 0, (6,), (1,)), {"0": b"numbers of the tensor..."}).read_bytes()
    directory = good.index(b"PK\x01\x02")
    entry = good.index(b"PK\x01\x02", directory + 1)
    for data, words in [
        (good.replace(b"numbers", b"n0mbers"), "CRC"),
        (good[: directory + 8] + b"\x01" + good[directory + 9 :], "nor encrypted"),
        (good[: entry + 24] + struct.pack("<I", 2**31) + good[entry + 28 :], "members of 21474"),
        (good[:-30], "not a zip file"),
        (b"PK\x03\x04", "not a zip file"),
    ]:
        path = tmp_path / "altered.pth"
        path.write_bytes(data)
        assert words in refusal(read_torch, path)


def test_other_files(tmp_path):
    for data, torch_words, caffe2_words in [
        (b"", "of 1 to 8589934592 bytes. Received 0", "Received 0"),
        (b"<!DOCTYPE html><html>", "starts with b'<!DOCTYPE html><'", "starts with b'<!DOCTYPE html><'"),
        (b"x/sys_info".ljust(257, b"\0") + b"ustar\x0000", "tar archive", "starts with b'x/sys_info"),
        (pickle.dumps({"a": 1}, 2), "torch.save, with the number", None),
        ((FIXTURES / "torch_legacy.pth").read_bytes(), None, "bytes behind it, as in files of torch.save"),
        ((FIXTURES / "torch_zip.pth").read_bytes(), None, r"starts with b'PK\x03\x04"),
        ((FIXTURES / "caffe2_protocol0.pkl").read_bytes(), "Received {'blobs': ", None),
    ]:
        path = tmp_path / "other"
        path.write_bytes(data)
        for read, words in ((read_torch, torch_words), (read_caffe2, caffe2_words)):
            assert words is None or words in refusal(read, path)


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines"), MemoryError(), RecursionError(), OSError(22, "seek")]
)
def test_any_error_becomes_one_line(monkeypatch, error):
    def fail(data):
        raise error

    monkeypatch.setattr(torch_files, "read_legacy", fail)
    assert type(error).__name__ in refusal(read_torch, FIXTURES / "torch_legacy.pth")


@pytest.mark.parametrize("read", [read_torch, read_caffe2])
def test_what_is_no_file_of_that_size(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")
    assert "Received a directory. Try" in refusal(read, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "Received a pipe. Try" in refusal(read, tmp_path / "pipe")
    large = tmp_path / "line\nfeed"
    with open(large, "wb") as file:
        file.truncate(9 * 2**30)  # of holes
    assert f"1 to {8 * 2**30} bytes. Received {9 * 2**30}" in refusal(read, large)
    assert "1 to 1000 bytes. Received" in refusal(read, FIXTURES / "torch_zip.pth", max_bytes=1000)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # in the text of protocol 0
@pytest.mark.parametrize("name", STORED)
def test_damaged_files_end_in_a_result_or_in_one_line(tmp_path, name):
    good, generator = (FIXTURES / name).read_bytes(), np.random.default_rng(0)
    path, results = tmp_path / name, 0
    for trial in range(200):
        data = bytearray(good)
        if trial % 2:
            del data[generator.integers(len(data)) :]
        else:
            for position in generator.integers(len(data), size=generator.integers(1, 4)):
                data[position] ^= 1 << generator.integers(8)
        path.write_bytes(data)
        try:
            STORED[name](path)
            results += 1
        except CheckpointError as error:
            assert len(str(error).splitlines()) == 1
    assert results < 100  # a file that was cut off is never one
