"""Runs the part of pickle's language that tensors are written in; imports nothing that a file names."""

import dataclasses
import pickle
import struct
from collections.abc import Callable

from keras_nonlocal.checkpoints.plain import CheckpointError, brief, fill

# A byte of a file may ask for a dict, and five bytes for a tensor, so their total is limited.
_MAX_OPCODES = 1_000_000
_MAX_ARGUMENTS = 20  # the same long tuple could be passed again and again


@dataclasses.dataclass(frozen=True)
class StandIn:
    """What a file gets for a name: a function of ours, or None where the name is only mentioned."""

    name: str
    call: Callable | None = dataclasses.field(repr=False)


class Unpickler:
    """A stack machine with the opcodes that containers, numbers, strings and arrays are written with.

    A subclass of `pickle.Unpickler` would have to guard its ways of setting attributes and of calling what
    lies on its stack (BUILD, OBJ, NEWOBJ, EXT), and its memo is an array as long as one opcode says. Here the
    memo is a dict, and nothing is ever called but the functions in `stand_ins` and the `build(state)` of what
    they return. `plain.settle` makes the arrays of the result and refuses what else is left of the stand-ins.

    Args:
        data: bytes or mmap with the pickle.
        stand_ins: {dotted name: function, or None for a name that is only mentioned}.
        load_persistent: function of a persistent id; None refuses them all.
        position: byte of `data` at which the pickle starts; after `load` the byte behind it.
    """

    def __init__(self, data, stand_ins, load_persistent=None, position=0):
        self.data = data
        self.stand_ins = stand_ins
        self.load_persistent = load_persistent
        self.position = position
        self.stack, self.marks, self.memo = [], [], {}

    def load(self):
        """Returns the value that the pickle describes.

        Raises:
            CheckpointError: a name or an opcode that tensors do not need, or too few bytes.
            Exception: whatever else damaged bytes lead to.
        """
        count = 0
        while (opcode := self.take(1)) != pickle.STOP:
            if (count := count + 1) > _MAX_OPCODES:
                raise CheckpointError(
                    f"Expected a pickle of at most {_MAX_OPCODES} opcodes. Received more. Try: a file with "
                    "the weights alone, without the optimizer and the history of the training."
                )
            if opcode in _VALUES:
                self.stack.append(_VALUES[opcode](self))
            elif opcode in _EFFECTS:
                _EFFECTS[opcode](self)
            else:
                raise CheckpointError(
                    "Expected a pickle of tensors, numbers, strings and containers. Received the opcode "
                    f"{opcode!r}, which they do not need. Try: another format, or downloading it again."
                )
        return self.stack.pop()

    def skip(self, count):
        """Skips `count` bytes, if that many are there, and returns the position of the first."""
        remaining = len(self.data) - self.position
        if not 0 <= count <= remaining:
            raise CheckpointError(
                f"Expected {count} bytes from byte {self.position} on. Received {remaining}, as the file is "
                "cut off or damaged. Try: downloading it again."
            )
        self.position += count
        return self.position - count

    def take(self, count):
        """Returns the next `count` bytes; no memory is reserved for bytes that are not there."""
        start = self.skip(count)
        return self.data[start : self.position]

    def number(self, form):
        """Returns the next number, whose format is one of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        """Returns the bytes up to the next line feed."""
        end = self.data.find(b"\n", self.position)
        return self.take((end if end >= 0 else len(self.data)) + 1 - self.position)[:-1]

    def top(self, count):
        """Removes the last `count` values from the stack and returns them."""
        start = len(self.stack) - count
        if start < 0:
            raise IndexError("a value of an empty stack")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def since_mark(self):
        """Removes the last mark and the values behind it from the stack, and returns the values."""
        return self.top(len(self.stack) - self.marks.pop())

    def named(self, module, name):
        """Returns the stand-in for a name."""
        if not type(module) is type(name) is str:
            raise TypeError(f"the name {brief(name)} in {brief(module)}")
        name = f"{module}.{name}"
        if name not in self.stand_ins:
            raise CheckpointError(
                "Expected tensors, numbers, strings and containers. Received a file that names "
                f"{brief(name)}, which is none of these; nothing was called. Try: a file with the weights "
                "alone, saved where this one is trusted."
            )
        return StandIn(name, self.stand_ins[name])


def _call(machine, function, arguments):
    if type(function) is not StandIn or function.call is None or type(arguments) is not tuple:
        raise TypeError(f"a call of {brief(function)}")
    if len(arguments) > _MAX_ARGUMENTS:
        raise TypeError(f"a call of {brief(function)} with {len(arguments)} arguments")
    return function.call(*arguments)


def _instance(machine):
    arguments = tuple(machine.since_mark())
    return _call(machine, machine.named(_text(machine.line()), _text(machine.line())), arguments)


def _built(machine):
    target, state = machine.top(2)
    if hasattr(target, "build"):
        target.build(state)
    elif type(target) is not dict:  # torch's OrderedDict has a state, the versions of modules: ignored
        raise TypeError(f"a state for {brief(target)}")
    return target


def _persistent(machine):
    (saved,) = machine.top(1)
    if machine.load_persistent is None:
        raise TypeError(f"the persistent id {brief(saved)}")
    return machine.load_persistent(saved)


def _extend(machine, items):
    if type(machine.stack[-1]) is not list:
        raise TypeError(f"an item for {brief(machine.stack[-1])}")
    machine.stack[-1].extend(items)


def _update(machine, items):
    if type(machine.stack[-1]) is not dict:
        raise TypeError(f"a key for {brief(machine.stack[-1])}")
    fill(machine.stack[-1], _pairs(items))


def _pairs(items):
    return zip(items[::2], items[1::2], strict=True)


def _remember(machine, index):
    machine.memo[_memo_key(index)] = machine.stack[-1]


def _recall(machine, index):
    return machine.memo[_memo_key(index)]


def _memo_key(index):
    """Returns the key of a memo; large integers could be chosen to have the same hash, texts could not."""
    return index if index.bit_length() <= 60 else str(index)


def _latin1(raw):
    """Decodes a string of Python 2, which may be text or bytes: latin1 can become either later."""
    return raw.decode("latin1")


def _text(raw):
    return raw.decode("utf-8", "surrogatepass")


def _long(raw):
    return int.from_bytes(raw, "little", signed=True)


def _decimal(line):
    return line == b"01" if line in (b"00", b"01") else int(line)


def _quoted(line):
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
        raise ValueError(f"{brief(line)} without its quotes")
    return line[1:-1].decode("unicode_escape")


def _fixed(form):
    return lambda machine: machine.number(form)


def _counted(form, convert):
    return lambda machine: convert(machine.take(machine.number(form)))


def _in_line(convert):
    return lambda machine: convert(machine.line())


_VALUES = {  # opcode: the value that it pushes
    pickle.NONE: lambda machine: None,
    pickle.NEWTRUE: lambda machine: True,
    pickle.NEWFALSE: lambda machine: False,
    pickle.BININT: _fixed("<i"),
    pickle.BININT1: _fixed("<B"),
    pickle.BININT2: _fixed("<H"),
    pickle.BINFLOAT: _fixed(">d"),
    pickle.LONG1: _counted("<B", _long),  # LONG4 is left out: arithmetic with such integers takes hours
    pickle.SHORT_BINSTRING: _counted("<B", _latin1),
    pickle.BINSTRING: _counted("<i", _latin1),
    pickle.SHORT_BINUNICODE: _counted("<B", _text),
    pickle.BINUNICODE: _counted("<I", _text),
    pickle.BINUNICODE8: _counted("<Q", _text),
    pickle.SHORT_BINBYTES: _counted("<B", bytes),
    pickle.BINBYTES: _counted("<I", bytes),
    pickle.BINBYTES8: _counted("<Q", bytes),
    pickle.BYTEARRAY8: _counted("<Q", bytes),
    pickle.INT: _in_line(_decimal),
    pickle.LONG: _in_line(lambda line: int(line.removesuffix(b"L"))),
    pickle.FLOAT: _in_line(float),
    pickle.STRING: _in_line(_quoted),
    pickle.UNICODE: _in_line(lambda line: line.decode("raw-unicode-escape")),
    pickle.EMPTY_LIST: lambda machine: [],
    pickle.LIST: lambda machine: machine.since_mark(),
    pickle.EMPTY_DICT: lambda machine: {},
    pickle.DICT: lambda machine: fill({}, _pairs(machine.since_mark())),
    pickle.EMPTY_TUPLE: lambda machine: (),
    pickle.TUPLE1: lambda machine: tuple(machine.top(1)),
    pickle.TUPLE2: lambda machine: tuple(machine.top(2)),
    pickle.TUPLE3: lambda machine: tuple(machine.top(3)),
    pickle.TUPLE: lambda machine: tuple(machine.since_mark()),
    pickle.GET: lambda machine: _recall(machine, int(machine.line())),
    pickle.BINGET: lambda machine: _recall(machine, machine.number("<B")),
    pickle.LONG_BINGET: lambda machine: _recall(machine, machine.number("<I")),
    pickle.GLOBAL: lambda machine: machine.named(_text(machine.line()), _text(machine.line())),
    pickle.STACK_GLOBAL: lambda machine: machine.named(*machine.top(2)),
    pickle.REDUCE: lambda machine: _call(machine, *machine.top(2)),
    pickle.INST: _instance,
    pickle.BUILD: _built,
    pickle.BINPERSID: _persistent,
}
_EFFECTS = {  # opcode: what it does to the machine
    pickle.PROTO: lambda machine: machine.skip(1),
    pickle.FRAME: lambda machine: machine.skip(8),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.APPEND: lambda machine: _extend(machine, machine.top(1)),
    pickle.APPENDS: lambda machine: _extend(machine, machine.since_mark()),
    pickle.SETITEM: lambda machine: _update(machine, machine.top(2)),
    pickle.SETITEMS: lambda machine: _update(machine, machine.since_mark()),
    pickle.PUT: lambda machine: _remember(machine, int(machine.line())),
    pickle.BINPUT: lambda machine: _remember(machine, machine.number("<B")),
    pickle.LONG_BINPUT: lambda machine: _remember(machine, machine.number("<I")),
    pickle.MEMOIZE: lambda machine: _remember(machine, len(machine.memo)),
}
