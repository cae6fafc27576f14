"""Scheduled kernels -> one function of the whole policy, its weights beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import Unsupported, require
from .schedule import Scheduled

SYMBOL = "policy_kernel"
"""The one function; TVM puts __tvm_ffi_ before it."""


@dataclass(frozen=True, eq=False)
class Program:
    """A policy as one PrimFunc: inputs, then constants, then outputs."""

    function: Any
    """tvm.tirx.PrimFunc with SYMBOL as its name."""
    inputs: tuple[tuple[int, ...], ...]
    """Shapes of obs and the states, float32."""
    constants: tuple[np.ndarray, ...]
    """Weights and other constants, in the order of the parameters."""
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    """(shape, dtype) of the action and the new states."""
    workspace_bytes: int
    """What the kernels may ask for beside the stack, at most."""
    kernels: int
    """Calls of ``main`` that became this one function."""


def kernel_functions(module: Any) -> Mapping[Any, Any]:
    """GlobalVar -> PrimFunc of every fused kernel."""
    primitive = require("tvm", "tvm").tirx.PrimFunc
    return {name: function for name, function in module.functions.items() if isinstance(function, primitive)}


def one_function(module: Any, choose: Callable[[Any, Any, tuple[bool, ...]], Scheduled]) -> Program:
    """Schedule each kernel of ``module`` with ``choose(name, function, which parameters are constants)`` and join them into one.

    TVM's own fusion does the joining: ``main`` is declared a primitive function, so that every intermediate result
    becomes a buffer inside, and no call, no check and no allocation lies between two layers.
    Raises Unsupported for a graph that is no straight line of kernels.
    """
    tvm, relax = require("tvm", "tvm"), require("tvm.relax", "tvm")
    main, kernels = module["main"], kernel_functions(module)
    calls = [binding for block in main.body.blocks for binding in block.bindings if isinstance(binding.value, tvm.ir.Call)]
    fixed: dict[Any, list[bool]] = {}
    for call in calls:
        name, arguments = call.value.args[0], call.value.args[1].fields
        constant = [isinstance(argument, tvm.ir.Constant) for argument in arguments]
        fixed[name] = [a and b for a, b in zip(fixed.get(name, constant), constant, strict=True)]
    chosen = {name: choose(name, function, tuple(fixed[name])) for name, function in kernels.items() if name in fixed}
    constants: list[np.ndarray] = []
    variables: list[Any] = []
    inputs = [tvm.ir.Var(f"in{index}", parameter.ty) for index, parameter in enumerate(main.params)]
    known: dict[Any, Any] = dict(zip(main.params, inputs, strict=True))

    def constant_of(value: np.ndarray) -> Any:
        variables.append(tvm.ir.Var(f"constant{len(constants)}", relax.const(value).ty))
        constants.append(value)
        return variables[-1]

    def converted(node: Any, kernel: Scheduled | None = None, index: int = -1) -> Any:
        if isinstance(node, tvm.ir.Constant):
            value = node.value.numpy()
            packing = kernel.packing if kernel else None
            return constant_of(packing.pack(value) if packing and packing.parameter == index else value)
        if isinstance(node, tvm.ir.Tuple):
            return tvm.ir.Tuple([converted(field, kernel, at) for at, field in enumerate(node.fields)])
        if isinstance(node, tvm.ir.TupleGetItem):
            return tvm.ir.TupleGetItem(converted(node.tuple_value), node.index)
        if isinstance(node, tvm.ir.Call) and node.op.name == "relax.call_tir":
            arguments = converted(node.args[1], chosen[node.args[0]])
            return tvm.ir.Call(node.op, [node.args[0], arguments], node.attrs, node.ty_args)
        if node in known:
            return known[node]
        raise Unsupported("ONNX graph", expected="a chain of kernels", found=f"{str(node)[:80]!r} after TVM's fusion")

    bindings: list[Any] = []
    for block in main.body.blocks:
        for binding in block.bindings:
            value = converted(binding.value)
            known[binding.var] = tvm.relax.DataflowVar(f"v{len(bindings)}", binding.var.ty)
            bindings.append(relax.VarBinding(known[binding.var], value))
    result = tvm.ir.Var("result", main.ret_ty)
    bindings.append(relax.VarBinding(result, converted(main.body.body)))
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], result)
    whole = relax.Function([*inputs, *variables], body, main.ret_ty).with_attr("Primitive", True)
    builder = relax.BlockBuilder(tvm.IRModule({name: kernel.function for name, kernel in chosen.items()}))
    name = builder.add_func(whole, SYMBOL)
    parameters = [tvm.ir.Var(variable.name, variable.ty) for variable in (*inputs, *variables)]
    with builder.function("main", parameters):
        with builder.dataflow():
            output = builder.emit_output(tvm.ir.Call(name, parameters))
        builder.emit_func_output(output)
    fused = relax.transform.DeadCodeElimination(["main"])(relax.transform.FuseTIR()(builder.finalize()))
    (function,) = kernel_functions(fused).values()
    first = len(inputs) + len(constants)
    return Program(
        function=function.with_attr("global_symbol", SYMBOL),
        inputs=tuple(_shape(buffer) for buffer in function.params[: len(inputs)]),
        constants=tuple(constants),
        outputs=tuple((_shape(buffer), str(buffer.dtype)) for buffer in function.params[first:]),
        workspace_bytes=_workspace(function),
        kernels=len(calls),
    )


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in buffer.shape)


def _workspace(function: Any) -> int:
    """Bytes of all intermediate buffers, each on a boundary of 64."""
    total = 0
    for buffer in function.body.block.alloc_buffers:
        size = int(np.prod(_shape(buffer))) * np.dtype(str(buffer.dtype)).itemsize
        total += -(-size // 64) * 64
    return total
