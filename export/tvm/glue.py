"""Program -> policy.c: constants, tensors described once, and the C interface that every C artifact of ours has."""

from __future__ import annotations

import math
from importlib import resources
from string import Template

import numpy as np

from ...errors import Unsupported
from ...policy.bundle import Policy
from ..c.header import header_of
from .program import SYMBOL, Program

CONSTANTS = "constants.bin"
ALIGNMENT = 64
"""Bytes: TVM's kernels load whole vectors from every tensor."""
_CODES = {
    "float32": (2, "float"),
    "int64": (0, "int64_t"),
    "int32": (0, "int32_t"),
    "int8": (0, "int8_t"),
    "bool": (6, "uint8_t"),
}
"""dtype -> (DLPack's code, C type)."""


def template(name: str) -> str:
    """The text of templates/NAME."""
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def glue_files(policy: Policy, program: Program) -> dict[str, bytes]:
    """policy.c, policy.h and constants.bin: all that goes beside kernels.o."""
    layout, data = _laid_out(program.constants)
    states = [tensor.size for tensor in policy.contract.state]
    if [math.prod(shape) for shape in program.inputs[1:]] != states or len(program.outputs) != 1 + len(states):
        raise Unsupported("ONNX graph", expected=f"states of {states} values", found=f"{program.inputs[1:]}")
    discrete = policy.contract.action.kind == "discrete"
    provenance = header_of(policy).provenance
    text = Template(template("policy.c.in")).substitute(
        provenance=provenance,
        symbol=SYMBOL,
        tables=_tables(program, layout, len(data)),
        workspace_words=max(1, program.workspace_bytes // 8),
        read_state=_state_lines("    in{i}[i] = state[{at} + i];", states),
        write_state=_state_lines("    state[{at} + i] = out{i}[i];", states),
        no_action="(policy_action_t)out0[i]" if discrete else '(policy_action_t)__builtin_nanf("")',
    )
    return {"policy.c": text.encode(), "policy.h": _header(policy), CONSTANTS: data}


def _header(policy: Policy) -> bytes:
    contract, words = policy.contract, header_of(policy)
    discrete = contract.action.kind == "discrete"
    text = Template(template("policy.h.in")).substitute(
        provenance=words.provenance,
        contract="\n".join(f"   {line}" for line in words.contract),
        obs=contract.observation.size,
        actions=contract.timing.actions_per_decision,
        action=contract.action.size,
        count=1 if discrete else contract.action.size,
        discrete=int(discrete),
        state=sum(tensor.size for tensor in contract.state),
        meaning="The index of the action." if discrete else "One value of the action.",
        action_type="int32_t" if discrete else "float",
    )
    return text.encode()


def _laid_out(constants: tuple[np.ndarray, ...]) -> tuple[list[int], bytes]:
    """(offset of each, bytes of all), each on a boundary of ALIGNMENT."""
    offsets, data = [], bytearray()
    for constant in constants:
        data += bytes(-len(data) % ALIGNMENT)
        offsets.append(len(data))
        data += np.ascontiguousarray(constant).tobytes()
    return offsets, bytes(data) or bytes(ALIGNMENT)


def _tables(program: Program, offsets: list[int], size: int) -> str:
    """Buffers, shapes, tensors and arguments in the order of the function's parameters."""
    lines = [
        "/* constants.bin, as the assembler reads it. */",
        "extern const char policy_constants[];",
        '__asm__(".pushsection .rodata.policy_constants,\\"a\\"\\n"',
        f'        ".balign {ALIGNMENT}\\n"',
        '        ".globl policy_constants\\n"',
        '        ".hidden policy_constants\\n"',
        '        "policy_constants:\\n"',
        f'        ".incbin \\"{CONSTANTS}\\"\\n"',
        '        ".popsection\\n");',
        f"/* {size} bytes */",
        "",
    ]
    parts: list[tuple[str, tuple[int, ...], str]] = []
    for index, shape in enumerate(program.inputs):
        lines.append(f"static float in{index}[{math.prod(shape)}] ALIGNED;")
        parts.append((f"in{index}", shape, "float32"))
    for offset, constant in zip(offsets, program.constants, strict=True):
        parts.append((f"(char *)policy_constants + {offset}", constant.shape, str(constant.dtype)))
    for index, (shape, dtype) in enumerate(program.outputs):
        lines.append(f"static {_code(dtype)[1]} out{index}[{math.prod(shape)}] ALIGNED;")
        parts.append((f"out{index}", shape, dtype))
    shapes = sorted({shape for _, shape, _ in parts})
    lines += ["", "static const int64_t shapes[][4] = {"]
    lines += ["    {" + ", ".join(map(str, shape or (0,))) + "}," for shape in shapes]
    lines += ["};", "", f"static tensor tensors[{len(parts)}] = {{"]
    for data, shape, dtype in parts:
        code, bits = _code(dtype)[0], np.dtype(dtype).itemsize * 8
        lines.append(f"    {{{data}, {{CPU, 0}}, {len(shape)}, {{{code}, {bits}, 1}}, shapes[{shapes.index(shape)}], NULL, 0}},")
    lines += ["};", "", f"static const argument arguments[{len(parts)}] = {{"]
    lines += [f"    {{IS_TENSOR, 0, {{.pointer = &tensors[{index}]}}}}," for index in range(len(parts))]
    return "\n".join([*lines, "};"])


def _code(dtype: str) -> tuple[int, str]:
    if dtype not in _CODES:
        raise Unsupported("ONNX graph", expected=f"tensors of {', '.join(_CODES)}", found=dtype)
    return _CODES[dtype]


def _state_lines(line: str, states: list[int]) -> str:
    at, lines = 0, []
    for index, size in enumerate(states, 1):
        lines += [f"  for (size_t i = 0; i < {size}; ++i)", line.format(i=index, at=at)]
        at += size
    return "\n".join(lines)
