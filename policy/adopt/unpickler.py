"""A pickle reader that executes nothing: it turns a pickle into plain data and inert records.

Python's own unpickler imports names and calls them. This one is a small stack machine that does neither:
a class, a function and a call all become :class:`Record` entries, which later code may *look at*. Names outside
of the caller's list are refused by name, so that a stranger's file is not even half believed.
Opcodes are those of protocols 0 to 5 (PEP 307, 3154, 574), taken apart by :mod:`pickletools`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from ...errors import BadInput

MAX_PICKLE_BYTES = 64 << 20
"""Larger pickles are refused before they are read."""
MAX_OPCODES = 2_000_000
"""Longer programs are refused: normalizers and spaces take a few hundred."""

Allowed = Callable[[str, str], bool]
"""(module, name) -> whether the pickle may mention it."""


class Global:
    """A class or function that the pickle mentions; only its name."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    @property
    def path(self) -> str:
        """module.name"""
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"<{self.path}>"


class Record:
    """What a call or a construction would have made: who was asked, with what, and the state handed over."""

    __slots__ = ("args", "items", "maker", "state")

    def __init__(self, maker: Global, args: tuple[Any, ...]) -> None:
        self.maker, self.args = maker, args
        self.state: Any = None
        self.items: list[Any] = []

    @property
    def path(self) -> str:
        """module.name of the class or function."""
        return self.maker.path

    def field(self, name: str, default: Any = None) -> Any:
        """An attribute of the pickled object, or ``default``."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default

    def __repr__(self) -> str:
        return f"<record of {self.path}>"


PERSISTENT = Global("pickle", "persistent_id")
"""Maker of the records that stand for persistent ids; args holds the id."""
_MARK = object()
_OLD_NAMES = {"copy_reg": "copyreg", "__builtin__": "builtins"}
"""Modules that protocols 0 to 2 call by their Python 2 names."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_LITERALS = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    ]
)


class _Machine:
    """The stack, the memo and one method per family of opcodes."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_to_mark(self) -> list[Any]:
        """Everything above the latest mark; the mark goes too."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                taken = self.stack[index + 1 :]
                del self.stack[index:]
                return taken
        raise ValueError("no mark on the stack")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value was due")
        return value

    def lookup(self, module: Any, name: Any) -> Global:
        """A mention of module.name, if the caller allows it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global whose name is no text")
        module = _OLD_NAMES.get(module, module)
        if not self.allowed(module, name):
            raise _Refused(f"refused: the pickle asks for {module[:60]}.{name[:60]}")
        return Global(module, name)

    def make(self, maker: Any, args: Any) -> Record:
        """A record of a call; nothing is called."""
        if not isinstance(maker, Global) or not isinstance(args, tuple):
            raise _Refused("refused: the pickle calls something that is no named class or function")
        if maker.path == "copyreg._reconstructor" and args and isinstance(args[0], Global):
            return Record(args[0], ())  # protocols 0 and 1 spell "an instance of this class" so
        return Record(maker, args)

    def fill(self, target: Any, values: list[Any], pairs: bool) -> None:
        """APPENDS, ADDITEMS and SETITEMS."""
        if isinstance(target, Record):
            target.items += zip(values[::2], values[1::2], strict=True) if pairs else values
        elif pairs and isinstance(target, dict):
            target.update((_key(k), v) for k, v in zip(values[::2], values[1::2], strict=True))
        elif not pairs and isinstance(target, list):
            target.extend(values)
        elif not pairs and isinstance(target, set):
            target.update(_key(value) for value in values)
        else:
            raise ValueError("items for something that holds none")

    def step(self, code: str, arg: Any) -> None:
        """Execute one opcode (which never executes anything but this method)."""
        stack = self.stack
        if code in _LITERALS:
            stack.append(arg)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in ("PROTO", "FRAME"):
            pass
        elif code == "MARK":
            stack.append(_MARK)
        elif code == "POP":
            stack.pop()
        elif code == "POP_MARK":
            self.pop_to_mark()
        elif code == "DUP":
            stack.append(stack[-1])
        elif code in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif code in ("TUPLE", "LIST", "FROZENSET"):
            taken = self.pop_to_mark()
            stack.append(tuple(taken) if code == "TUPLE" else taken if code == "LIST" else frozenset(map(_key, taken)))
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            taken = [self.pop() for _ in range(int(code[-1]))]
            stack.append(tuple(reversed(taken)))
        elif code in ("APPEND", "SETITEM"):
            taken = [self.pop() for _ in range(1 if code == "APPEND" else 2)]
            self.fill(stack[-1], taken[::-1], code == "SETITEM")
        elif code in ("APPENDS", "ADDITEMS", "SETITEMS"):
            taken = self.pop_to_mark()
            self.fill(stack[-1], taken, code == "SETITEMS")
        elif code == "DICT":
            taken = self.pop_to_mark()
            stack.append({})
            self.fill(stack[-1], taken, True)
        else:
            self.step_object(code, arg)

    def step_object(self, code: str, arg: Any) -> None:
        """The opcodes that name, call and construct; here they only write down."""
        stack = self.stack
        if code == "GLOBAL":
            module, _, name = arg.partition(" ")
            stack.append(self.lookup(module, name))
        elif code == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            stack.append(self.lookup(module, name))
        elif code in ("REDUCE", "NEWOBJ"):
            args, maker = self.pop(), self.pop()
            stack.append(self.make(maker, args))
        elif code == "NEWOBJ_EX":
            keywords, args, maker = self.pop(), self.pop(), self.pop()
            record = self.make(maker, args)
            record.items.append(keywords)
            stack.append(record)
        elif code == "INST":
            module, _, name = arg.partition(" ")
            stack.append(self.make(self.lookup(module, name), tuple(self.pop_to_mark())))
        elif code == "OBJ":
            maker, *args = self.pop_to_mark()
            stack.append(self.make(maker, tuple(args)))
        elif code == "BUILD":
            state = self.pop()
            if not isinstance(stack[-1], Record):
                raise ValueError("state for something that is no object")
            stack[-1].state = state
        elif code in ("PERSID", "BINPERSID"):
            stack.append(Record(PERSISTENT, (arg if code == "PERSID" else self.pop(),)))
        else:
            raise _Refused(f"refused: the pickle uses the opcode {code}")


class _Refused(Exception):
    """The pickle asks for something outside of the list; the message says what."""


def _key(value: Any) -> Any:
    """A dict key or set member; only kinds that cannot be made to collide on purpose."""
    if isinstance(value, str | bytes | bool | Record | Global) or value is None:
        return value
    if isinstance(value, int) and abs(value) < 1 << 31:
        return value
    raise _Refused(f"refused: the pickle uses a {type(value).__name__} as a key")


def read_pickle(data: bytes, where: object, allowed: Allowed, what: str) -> Any:
    """Turn a pickle into plain data and records, executing nothing.

    ``allowed`` says which names it may mention, ``what`` is the expectation put into errors
    ("a VecNormalize pickle"). Raises BadInput for anything else, naming it.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise BadInput(where, expected=f"{what} of at most {MAX_PICKLE_BYTES >> 20} MiB", found=f"{len(data)} bytes")
    machine = _Machine(allowed)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                raise _Refused(f"refused: a pickle of more than {MAX_OPCODES} instructions")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, arg)
    except _Refused as error:
        raise BadInput(
            where, expected=what, found=str(error), repair="Nothing was executed; get the file from a source you trust"
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise BadInput(where, expected=what, found=f"a damaged pickle ({error})"[:200]) from error
    raise BadInput(where, expected=what, found="a pickle without an end")
