"""The pickles inside PyTorch's files, followed as far as dictionaries of tensors go and no further.

Pickles are programs: they call whatever function they name. Here ``pickletools`` only cuts a program into
instructions; those that dictionaries, lists, tuples, strings and numbers need are followed, the few names in ``_NAMES``
and ``_TYPES`` stand for what they mean, and everything else is refused by its name. Nothing is imported, looked up or
called.
"""

from collections.abc import Callable, Iterable
from pickletools import genops
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gen_jax.data import DataError

_MOST_INSTRUCTIONS = 1_000_000
_MOST_AXES = 32

_TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class TorchFileError(DataError):
    """The file is no state dictionary, is damaged, or asks for more than a state dictionary needs."""


class _Name(NamedTuple):
    name: str


class Storage(NamedTuple):
    """``size`` numbers of one type, kept elsewhere in the file under ``key``."""

    dtype: np.dtype
    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def run(program: bytes | BinaryIO) -> Any:
    """What one pickle makes: Python's own dictionaries, lists, tuples, strings and numbers, and :class:`Tensor`.

    Args:
      program: the pickle, or a file, which is read up to its end.

    Raises:
      TorchFileError: if it asks for anything else; then too LookupError, ValueError or TypeError if it is damaged.
    """
    return _Machine(program).run()


def kind_of(value: Any) -> str:
    """What to call a value in a message."""
    return "a " + type(value).__name__.strip("_").lower()


class _Machine:
    """Follows one pickle, as far as the instructions in its table go."""

    def __init__(self, program: bytes | BinaryIO):
        self.program = program
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def run(self) -> Any:
        for count, (operation, argument, _) in enumerate(genops(self.program)):
            if operation.name == "STOP":
                break
            if count > _MOST_INSTRUCTIONS:
                raise TorchFileError(f"got more than {_MOST_INSTRUCTIONS:,} instructions")
            if operation.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[operation.name](argument))
            elif operation.name in _MOVES:
                _MOVES[operation.name](self, argument)
            else:
                raise TorchFileError(f"it asks for the instruction {operation.name}, which none needs; do not trust it")
        if len(self.stack) != 1:
            raise TorchFileError(f"got a pickle that leaves {len(self.stack)} objects")
        return self.stack.pop()

    def top(self) -> list[Any]:
        # What was put on the stack since the last mark.
        start = self.marks.pop()
        taken, self.stack[start:] = self.stack[start:], []
        return taken

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise TorchFileError("got a pickle that takes more than it has")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def put(self, place: int) -> None:
        self.memory[place] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memory[len(self.memory)] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self.memory[place])

    def name(self, argument: str) -> None:
        name = argument.replace(" ", ".", 1)
        storage = name.removeprefix("torch.")
        if name not in _NAMES and not (name == f"torch.{storage}" and storage in _TYPES):
            raise TorchFileError(f"it asks for {name}, which no state dictionary needs; do not trust it")
        self.stack.append(_Name(name))

    def stacked_name(self, _: Any) -> None:
        module, name = self.take(2)
        self.name(f"{module} {name}")

    def reduce(self, _: Any) -> None:
        function, arguments = self.take(2)
        if not isinstance(function, _Name) or function.name not in _NAMES:
            raise TorchFileError(f"it calls {kind_of(function)}; do not trust it")
        self.stack.append(_NAMES[function.name](*arguments))

    def build(self, _: Any) -> None:
        # The only object with attributes here is the dictionary itself; they are versions of layers.
        target, attributes = self.take(2)
        if not isinstance(target, dict) or not isinstance(attributes, dict):
            raise TorchFileError(f"it sets attributes of {kind_of(target)}; do not trust it")
        self.stack.append(target)

    def storage(self, _: Any) -> None:
        (identity,) = self.take(1)
        _, dtype, key, _, size, *view = identity
        name = dtype.name.removeprefix("torch.") if isinstance(dtype, _Name) else ""
        if name not in _TYPES or not isinstance(key, str) or not _is_natural(size) or any(view):
            raise TorchFileError(f"got a storage of {name or kind_of(dtype)} that is not understood")
        self.stack.append(Storage(np.dtype(_TYPES[name]), key, size))

    def set_items(self, pairs: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], dict):
            raise TorchFileError("it sets items of something that is no dictionary; do not trust it")
        self.stack[-1].update(_named(zip(pairs[::2], pairs[1::2], strict=True)))

    def append(self, values: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], list):
            raise TorchFileError("it appends to something that is no list; do not trust it")
        self.stack[-1].extend(values)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or not all(map(_is_natural, (offset, *shape, *strides))):
        raise TorchFileError(f"got a tensor of {kind_of(storage)}; save model.state_dict() alone")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise TorchFileError(f"got a tensor of {len(shape)} axes with {len(strides)} strides")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_natural(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 62


def _named(pairs: Iterable[Any]) -> dict[str, Any]:
    # Before anything is hashed: that of deeply nested tuples would exhaust the stack.
    found = [(name, value) for name, value in pairs]
    if not all(isinstance(name, str) for name, _ in found):
        raise TorchFileError("it has an entry whose name is no string; save model.state_dict() alone")
    return dict(found)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _dictionary(pairs: Any = ()) -> dict[str, Any]:
    return _named(pairs)


_NAMES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}

_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
} | dict.fromkeys(
    (
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINFLOAT",
    ),
    lambda argument: argument,
)

_MOVES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stacked_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.top())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.take(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.take(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.take(3)),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.top()),
    "APPEND": lambda machine, _: machine.append(list(machine.take(1))),
    "APPENDS": lambda machine, _: machine.append(machine.top()),
}
