"""Pickles without execution: a stack machine that knows containers and tensors and nothing else.

`pickle.Unpickler` runs whatever a file names. Here nothing is imported, looked up or called: the machine walks over
the opcodes (`pickletools.genops`) and keeps values on a stack of its own. A global is a pair of strings (`Global`);
"calling" one gives a tensor or a container where its name is in a short table, and an inert `Placeholder` everywhere
else.

Source: the opcodes' descriptions in Python's `pickletools`; PEP 307, PEP 3154, PEP 574.
"""

import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MARK = object()

MAX_OPCODES = 20_000_000
"""More than any checkpoint needs (a full training checkpoint of these models has about 200,000)."""


class DamagedPickleError(Exception):
    """The bytes are not a pickle, or one that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name in a pickle, of a class or a function. Only a name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Placeholder:
    """Where a pickle wanted an object of a class that is none of ours: what it would have been made from."""

    kind: str
    """Module and name of the class, or of the function that would have been called."""
    arguments: tuple[Any, ...] = ()
    state: Any = None
    """What the object's `__setstate__` would have been given, or its attributes."""
    items: list[Any] = field(default_factory=list, repr=False)
    """What would have been appended to it, or set in it (as pairs)."""


Builder = Callable[[Sequence[Any]], Any]
"""Arguments of a call to its result; ValueError, TypeError or IndexError where they make no sense."""


def _ordered_dict(arguments: Sequence[Any]) -> dict[Any, Any]:
    return dict(arguments[0]) if arguments else {}


def _empty_bytes(arguments: Sequence[Any]) -> bytes:
    if arguments:
        raise ValueError("bytes made of something")
    return b""


def _bytes_of_text(arguments: Sequence[Any]) -> bytes:
    text, encoding = arguments
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return bytes(text, "latin1")


_CONTAINERS: Mapping[str, Builder] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": lambda arguments: set(arguments[0]) if arguments else set(),
    "__builtin__.set": lambda arguments: set(arguments[0]) if arguments else set(),
    "builtins.frozenset": lambda arguments: frozenset(arguments[0]) if arguments else frozenset(),
    "__builtin__.frozenset": lambda arguments: frozenset(arguments[0]) if arguments else frozenset(),
    # Bytes as protocols 0 to 2 spell them.
    "builtins.bytes": _empty_bytes,
    "__builtin__.bytes": _empty_bytes,
    "_codecs.encode": _bytes_of_text,
}


def read_pickle(
    data: bytes, *, builders: Mapping[str, Builder] | None = None, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The value of a pickle of any protocol: containers, numbers, texts, and placeholders for everything else.

    Args:
        data: one pickle; what follows it is not looked at.
        builders: `module.name` -> what to make of a call, beside the containers.
        persistent: what to make of a persistent id; without it they become placeholders.

    Raises:
        DamagedPickleError: the bytes are no pickle, are cut off, or use the stack in a way that no pickler does.
    """
    machine = _Machine({**_CONTAINERS, **(builders or {})}, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                raise DamagedPickleError(f"more than {MAX_OPCODES:,} operations")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except DamagedPickleError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise DamagedPickleError(f"{type(error).__name__}: {error}") from None
    raise DamagedPickleError("it ends before its end")


class _Machine:
    """Stack and memo of one pickle. A mark stands on the stack as an object that nothing else can be."""

    def __init__(self, builders: Mapping[str, Builder], persistent: Callable[[Any], Any] | None) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.builders = builders
        self.persistent = persistent

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise DamagedPickleError("a mark where a value should be")
        return value

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise DamagedPickleError("a mark where a value should be")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _MEMO_READS:
            self.stack.append(self.memo[int(argument)])
        elif name in _MEMO_WRITES:
            self.memo[int(argument)] = self.top()
        elif name not in ("PROTO", "FRAME"):
            operation = _OPERATIONS.get(name)
            if operation is None:
                raise DamagedPickleError(f"the operation {name}, which no checkpoint needs")
            operation(self, argument)

    def call(self, function: Any, arguments: Any, keywords: Any = None) -> Any:
        values = tuple(arguments) if isinstance(arguments, (tuple, list)) else (arguments,)
        if not isinstance(function, Global):
            # Only a name can be called; a call of anything else is a call of nothing.
            kind = function.kind if isinstance(function, Placeholder) else type(function).__name__
            return Placeholder(f"({kind})(…)", values, keywords)
        name = str(function)
        if name == "torch._tensor._rebuild_from_type_v2" and len(values) >= 3:
            return self.call(values[0], values[2])  # a tensor of a subclass, by the function that makes the tensor
        builder = self.builders.get(name)
        if builder is None or keywords:
            return Placeholder(name, values, keywords)
        return builder(values)


def _new(machine: _Machine, _: Any) -> None:
    arguments = machine.pop()
    machine.stack.append(machine.call(machine.pop(), arguments))


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    keywords = machine.pop()
    arguments = machine.pop()
    machine.stack.append(machine.call(machine.pop(), arguments, keywords))


def _instance(machine: _Machine, argument: Any) -> None:
    arguments = tuple(machine.pop_to_mark())
    machine.stack.append(machine.call(_global(argument), arguments))


def _object(machine: _Machine, _: Any) -> None:
    kind, *arguments = machine.pop_to_mark()
    machine.stack.append(machine.call(kind, tuple(arguments)))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    target = machine.top()
    # The attributes of containers and tensors (a state dict's `_metadata`) say nothing about weights.
    if isinstance(target, Placeholder):
        target.state = state


def _global(argument: str) -> Global:
    module, name = argument.split(" ", 1)
    return Global(module, name)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise DamagedPickleError("a name that is no text")
    machine.stack.append(Global(module, name))


def _append(machine: _Machine, values: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, Placeholder):
        target.items.extend(values)
    else:
        raise DamagedPickleError(f"items for a {type(target).__name__}")


def _append_one(machine: _Machine, _: Any) -> None:
    value = machine.pop()
    _append(machine, [value])


def _add(machine: _Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    target = machine.top()
    if isinstance(target, set):
        target.update(values)
    else:
        _append(machine, values)


def _set(machine: _Machine, values: list[Any]) -> None:
    target = machine.top()
    pairs = list(zip(values[::2], values[1::2], strict=True))
    if isinstance(target, dict):
        target.update(pairs)
    elif isinstance(target, Placeholder):
        target.items.extend(pairs)
    else:
        raise DamagedPickleError(f"entries for a {type(target).__name__}")


def _set_one(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set(machine, [key, value])


def _dict(machine: _Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    machine.stack.append(dict(zip(values[::2], values[1::2], strict=True)))


def _persistent(machine: _Machine, identifier: Any) -> None:
    if machine.persistent is None:
        machine.stack.append(Placeholder("persistent id", (identifier,)))
    else:
        machine.stack.append(machine.persistent(identifier))


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.pop_to_mark()


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return make


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_LITERALS = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_MEMO_READS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_MEMO_WRITES = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_OPERATIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "FROZENSET": lambda machine, _: machine.stack.append(frozenset(machine.pop_to_mark())),
    "DICT": _dict,
    "APPEND": _append_one,
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "ADDITEMS": _add,
    "SETITEM": _set_one,
    "SETITEMS": lambda machine, _: _set(machine, machine.pop_to_mark()),
    "POP": lambda machine, _: machine.stack.__delitem__(-1),  # a mark, too
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "MEMOIZE": lambda machine, _: machine.memo.__setitem__(len(machine.memo), machine.top()),
    "GLOBAL": lambda machine, argument: machine.stack.append(_global(argument)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _new,
    "NEWOBJ": _new,
    "NEWOBJ_EX": _new_with_keywords,
    "INST": _instance,
    "OBJ": _object,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": lambda machine, _: _persistent(machine, machine.pop()),
    "EXT1": lambda machine, argument: machine.stack.append(Placeholder(f"extension {argument}")),
    "EXT2": lambda machine, argument: machine.stack.append(Placeholder(f"extension {argument}")),
    "EXT4": lambda machine, argument: machine.stack.append(Placeholder(f"extension {argument}")),
}
