"""Following the observation through TorchScript code: a walk over the syntax tree with signals in place of tensors.

No code is run. Every name stands for a signal, a constant, a module or a state; a statement outside of what
policies need is a Misfit that quotes it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells import GRU, LSTM
from .script_code import ScriptCode, family
from .script_ops import OPERATORS
from .script_recurrent import recurrent
from .script_values import Buffer, plain
from .signal import Misfit
from .torch_archive import TorchArchive
from .unpickler import Record

MAX_DEPTH = 60
MAX_STATEMENTS = 20_000


@dataclass(frozen=True, eq=False)
class Module:
    """A module object of the archive."""

    record: Record
    """Its pickled attributes."""
    path: str
    """Attribute path from the top module; empty for the top."""


_COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__is__": lambda a, b: a is b,
    "__isnot__": lambda a, b: a is not b,
    "__not__": operator.not_,
    "__contains__": operator.contains,
    "__and__": lambda a, b: a and b,
    "__or__": lambda a, b: a or b,
}


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class Walk:
    """One walk from an entry method to its result. ``writes`` holds what was stored into buffers."""

    def __init__(self, archive: TorchArchive, code: ScriptCode, constants: list[Any]) -> None:
        self.archive, self.code, self.constants = archive, code, constants
        self.writes: dict[str, Any] = {}
        self.depth = self.statements = 0

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute of a module: sub-module, tensor, plain value or class constant."""
        if not isinstance(owner, Module):
            raise Misfit(f"the attribute {name!r} of a value that is no module")
        state = owner.record.state if isinstance(owner.record.state, dict) else {}
        path = f"{owner.path}.{name}" if owner.path else name
        if path in self.writes:
            return self.writes[path]
        if name in state:
            return self._wrapped(state[name], path)
        constants = self.code.constants(owner.record.path)
        if name in constants:
            return constants[name]
        raise Misfit(f"the attribute {path!r} that the archive does not hold")

    def _wrapped(self, value: Any, path: str) -> Any:
        if self.archive.is_tensor(value):
            return Buffer(path, self.archive.array(value))
        if isinstance(value, Record):
            return Module(value, path)
        if isinstance(value, list | tuple):
            return [self._wrapped(v, f"{path}.{i}") for i, v in enumerate(value)]
        return value

    def call(self, module: Module, method: str, args: list[Any], keywords: dict[str, Any]) -> Any:
        """The result of a method of a module."""
        path = module.record.path
        kind = family(path)
        if kind in ("torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.GRU") and self.code.constants(path).get("num_layers"):
            return self._recurrent(module, kind.endswith("LSTM"), args, keywords)
        function = self.code.methods(path).get(method)
        if function is None:
            raise Misfit(f"the method {method!r} of {kind}, whose code the archive does not hold")
        return self._enter(function, [module, *args], keywords)

    def _recurrent(self, module: Module, lstm: bool, args: list[Any], keywords: dict[str, Any]) -> Any:
        """A scripted torch.nn.LSTM or GRU: (output, next state), told by its constants and not by its checks."""
        constants = self.code.constants(module.record.path)
        if constants.get("bidirectional") or constants.get("proj_size"):
            raise Misfit("a recurrent layer that runs in both directions or projects its output")
        hx = args[1] if len(args) > 1 else keywords.get("hx")
        states = list(hx) if lstm and isinstance(hx, list | tuple) else [hx]
        if hx is None or len(states) != (2 if lstm else 1):
            raise Misfit("a recurrent layer whose state the module does not keep (it would forget between two calls)")
        layers, biases = constants["num_layers"], bool(constants.get("bias", True))
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if biases else [])]
        if not isinstance(layers, int) or not 0 < layers <= 64:
            raise Misfit(f"{layers!r} recurrent layers")
        flat = [self.attribute(module, f"{name}_l{layer}") for layer in range(layers) for name in names]
        output, *following = recurrent(LSTM if lstm else GRU, args[0], states, flat, layers, biases)
        return (output, tuple(following) if lstm else following[0])

    def _enter(self, function: ast.FunctionDef, args: list[Any], keywords: dict[str, Any]) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Misfit("calls nested too deeply")
        names = [a.arg for a in function.args.args]
        scope: dict[str, Any] = dict(zip(names, args, strict=False)) | keywords
        for name, default in zip(reversed(names), reversed(function.args.defaults), strict=False):
            if name not in scope:
                scope[name] = self.value(default, scope)
        missing = [name for name in names if name not in scope]
        if missing or len(args) > len(names):
            raise Misfit(f"a call of {function.name} with {len(args)} arguments in place of {len(names)}")
        try:
            self._block(function.body, scope)
        except _Return as result:
            return result.value
        finally:
            self.depth -= 1
        return None

    def _block(self, body: list[ast.stmt], scope: dict[str, Any]) -> None:
        for statement in body:
            self.statements += 1
            if self.statements > MAX_STATEMENTS:
                raise Misfit("a program of too many statements")
            match statement:
                case ast.Assign(targets=[target], value=value):
                    self._assign(target, self.value(value, scope), scope)
                case ast.Expr(value=value):
                    self.value(value, scope)
                case ast.Return(value=value):
                    raise _Return(None if value is None else self.value(value, scope))
                case ast.If(test=test, body=then, orelse=otherwise):
                    self._block(then if self._truth(test, scope) else otherwise, scope)
                case ast.Pass():
                    pass
                case _:
                    raise Misfit(f"the statement {ast.unparse(statement)[:80]!r}")

    def _truth(self, test: ast.expr, scope: dict[str, Any]) -> bool:
        value = self.value(test, scope)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = bool(value)
        if not isinstance(value, bool | int):
            raise Misfit(f"a branch that depends on the observation ({ast.unparse(test)[:60]!r})")
        return bool(value)

    def _assign(self, target: ast.expr, value: Any, scope: dict[str, Any]) -> None:
        match target:
            case ast.Name(id=name):
                scope[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                if not isinstance(value, list | tuple) or len(value) != len(parts):
                    raise Misfit(f"an unpacking into {len(parts)} names")
                for part, item in zip(parts, value, strict=True):
                    self._assign(part, item, scope)
            case ast.Attribute(value=owner, attr=name):
                module = self.value(owner, scope)
                if not isinstance(module, Module):
                    raise Misfit(f"an assignment to {ast.unparse(target)[:60]!r}")
                self.writes[f"{module.path}.{name}" if module.path else name] = value
            case _:
                raise Misfit(f"an assignment to {ast.unparse(target)[:60]!r}")

    def value(self, node: ast.expr, scope: dict[str, Any]) -> Any:
        """The value of an expression."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                if name in scope:
                    return scope[name]
                raise Misfit(f"the name {name!r}")
            case ast.Tuple(elts=parts):
                return tuple(self.value(part, scope) for part in parts)
            case ast.List(elts=parts):
                return [self.value(part, scope) for part in parts]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand, scope)
            case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name):
                index = int(name[1:]) if name[1:].isdigit() else -1
                if not 0 <= index < len(self.constants):
                    raise Misfit(f"the constant {name!r}")
                return self._wrapped(self.constants[index], f"CONSTANTS.{name}")
            case ast.Attribute(value=owner, attr=name):
                path = _dotted(node)
                if path and path.split(".")[0] not in scope:
                    return path  # a function or class by name: torch.float, __torch__.torch.nn.functional.elu
                return self.attribute(self.value(owner, scope), name)
            case ast.Subscript(value=owner, slice=index):
                holder, place = self.value(owner, scope), self.value(index, scope)
                if isinstance(holder, list | tuple) and isinstance(place, int) and -len(holder) <= place < len(holder):
                    return holder[place]
                raise Misfit(f"the entry {ast.unparse(node)[:60]!r}")
            case ast.Call():
                return self._call(node, scope)
        raise Misfit(f"the expression {ast.unparse(node)[:80]!r}")

    def _call(self, node: ast.Call, scope: dict[str, Any]) -> Any:
        path = _dotted(node.func)
        if path in ("annotate", "unchecked_cast", "uninitialized"):
            return self.value(node.args[1], scope) if len(node.args) > 1 else None
        args = [self.value(arg, scope) for arg in node.args]
        keywords = {k.arg: self.value(k.value, scope) for k in node.keywords if k.arg}
        if path == "getattr" and len(args) == 2:
            return self.attribute(args[0], str(args[1]))
        if path in ("int", "float", "bool"):
            value = plain(args[0])
            if not isinstance(value, np.ndarray) or value.size != 1:
                raise Misfit(f"a number from the observation ({ast.unparse(node)[:60]!r})")
            return {"int": int, "float": float, "bool": bool}[path](value.reshape(-1)[0])
        if isinstance(node.func, ast.Attribute) and (not path or path.split(".")[0] in scope):
            owner = self.value(node.func.value, scope)
            if isinstance(owner, Module):
                return self.call(owner, node.func.attr, args, keywords)
        if not path:
            raise Misfit(f"the call {ast.unparse(node)[:80]!r}")
        if isinstance(target := scope.get(path), str):
            path = target  # a function that was first given a local name: _0 = __torch__.….elu
        return self._function(path, args, keywords, node)

    def _function(self, path: str, args: list[Any], keywords: dict[str, Any], node: ast.Call) -> Any:
        name = path.rpartition(".")[2]
        if path.startswith("torch."):
            return self._operator(name, args, keywords)
        if path.startswith("ops.prim."):
            if name == "RaiseException":
                raise Misfit(f"an error that the exported code raises ({ast.unparse(node)[:80]})")
            if name in ("dtype", "device", "data"):
                return args[0] if name == "data" else name
        if family(path).startswith("torch.nn.functional.") and name in ("dropout", "softsign", "hardtanh", "layer_norm"):
            if name == "softsign":
                return OPERATORS["abs"](args[0]).of.activation("softsign")
            return OPERATORS[name](*args, **keywords)  # F.name has the operator's arguments behind some checks
        function = self.code.find(path)
        if isinstance(function, ast.FunctionDef):
            return self._enter(function, args, keywords)
        raise Misfit(f"the function {path!r}")

    def _operator(self, name: str, args: list[Any], keywords: dict[str, Any]) -> Any:
        if name in ("copy_", "zero_", "fill_"):
            return self._write(name, args)
        if name in _COMPARISONS:
            return _COMPARISONS[name](*args)
        known = name if name in OPERATORS else name.removesuffix("_")
        if known not in OPERATORS:
            raise Misfit(f"the operator torch.{name}")
        if name != known and isinstance(args[0], Buffer):
            raise Misfit(f"torch.{name}, which changes the buffer {args[0].name!r}")
        if known == "slice" and isinstance(args[0], Buffer) and len(args) > 1:
            first, last = (args[2] if len(args) > 2 else None), (args[3] if len(args) > 3 else None)
            if not first and (last is None or last >= 1 << 62):
                return args[0]
        return OPERATORS[known](*args, **keywords)

    def _write(self, name: str, args: list[Any]) -> Any:
        target = args[0]
        if not isinstance(target, Buffer) or name != "copy_":
            raise Misfit(f"torch.{name} on something that is no buffer of the module")
        self.writes[target.name] = args[1]
        return target


def _dotted(node: ast.expr) -> str:
    """ "a.b.c" of nested attributes on a plain name; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
