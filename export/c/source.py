"""Graph -> policy.c, policy.h and a note: the same graph gives the same bytes."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

import numpy as np

from ...errors import Unsupported
from .functions import definitions, template
from .graph import Graph, Node
from .header import Header, harmless
from .kernels import Choice
from .machine import Machine
from .memory import Step, plan
from .operators import OPERATORS, Operator, Scope, number
from .operators.operator import ARENAS
from .ram import Ram
from .rewrites import rewrite


@dataclass(frozen=True)
class Source:
    """The generated program."""

    files: dict[str, str]
    """policy.c, policy.h, README.txt"""
    table_bytes: int
    """Constant tables."""
    ram: Ram
    """Static memory."""
    choices: tuple[Choice, ...]
    """Which kernel every dense layer got, in order."""
    obs: int
    """POLICY_OBS_SIZE"""
    state: int
    """POLICY_STATE_SIZE"""
    count: int
    """POLICY_ACTION_COUNT"""
    discrete: bool
    """True: the action is one int32."""

    @property
    def arena_bytes(self) -> int:
        """Static scratch memory."""
        return self.ram.arena_bytes


def generate(graph: Graph, machine: Machine, header: Header) -> Source:
    """Print a graph as C99 for ``machine``. Raises Unsupported for what an operator cannot print."""
    graph = _with_separate_outputs(rewrite(graph, machine))
    operators = [OPERATORS[node.op].read(node, graph) for node in graph.nodes]
    roots = _roots(graph)
    discrete = "action" in graph.integer
    steps = [op.step() for op in operators]
    results = _results(graph, steps)
    steps = [s for i, step in enumerate(steps) for s in (step, *(Step((name,), (), {}) for name in results[i]))]
    alignment = 64 if machine.vectors else 4
    memory = plan(graph.inputs, steps, graph.sizes, [], alignment, graph.kinds)
    scope = Scope(graph, memory, machine, roots)
    body = []
    for op, names in zip(operators, results, strict=True):
        body += _block(op, scope) + [line for name in names for line in _result(name, scope)]
    state = sum(size for name, size in graph.inputs.items() if name != "obs")
    body = _unused(body, state) + body
    tables = [_table(name, array, comment) for name, (array, comment) in scope.tables.items()]
    table_bytes = sum(array.nbytes for array, _ in scope.tables.values())
    count = 1 if discrete else graph.outputs["action"]
    action_size = header.action_size or count
    ram = Ram.of(memory, state)
    values = {
        "provenance": harmless(header.provenance),
        "contract": "\n".join(f"   {harmless(line)}" for line in header.contract),
        "obs": graph.inputs["obs"],
        "action": action_size,
        "count": count,
        "actions": header.actions_per_decision,
        "state": state,
        "discrete": int(discrete),
        "action_type": "int32_t" if discrete else "float",
        "action_comment": (
            f"/* An index in [0, {action_size}). */"
            if discrete
            else "/* One of the POLICY_ACTION_COUNT entries of the action. */"
        ),
        "table_bytes": table_bytes,
        "arenas": "\n".join(f"static {kind} {ARENAS[kind]}[{size}] POLICY_ALIGNED;" for kind, size in ram.arenas.items()),
        "arena_bytes": ram.arena_bytes,
        "state_bytes": ram.state_bytes,
        "ram": textwrap.fill(f"RAM: {ram}.", 110, subsequent_indent="   "),
        "alignment": alignment,
        "math": definitions(scope.math, machine.accuracy, machine.vector_floats),
        "tables": "\n".join(tables),
        "reset": "for (int i = 0; i < POLICY_STATE_SIZE; ++i) state[i] = 0.0f;" if state else "(void)state;",
        "body": "\n".join(f"  {line}" if line else "" for line in body),
    }
    files = {name: Template(template(f"{name}.in")).substitute(values) for name in ("policy.c", "policy.h", "README.txt")}
    return Source(files, table_bytes, ram, tuple(scope.choices), graph.inputs["obs"], state, count, discrete)


def _with_separate_outputs(graph: Graph) -> Graph:
    """A copy of the graph in which no output is (part of) an input: results are written over the old state, each at once."""
    inputs = set(graph.inputs)
    views = set(inputs)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.inputs and node.inputs[0] in views and OPERATORS[node.op].__name__ == "View":
            views |= set(node.outputs)
        nodes.append(node)
    sizes, outputs = dict(graph.sizes), graph.outputs
    for name in outputs:
        if name in graph.constants or name in inputs:
            raise Unsupported(f"output {name!r}", expected="a computed value", found="a constant or an input itself")
        if name in views:
            # The View that makes this output becomes a copy.
            index = next(i for i, n in enumerate(nodes) if name in n.outputs)
            inner = f"{name}/view"
            old = nodes[index]
            nodes[index] = Node(
                old.op, old.name, old.inputs, tuple(inner if o == name else o for o in old.outputs), old.attributes
            )
            nodes.insert(index + 1, Node("Concat", f"copy of {name}", (inner,), (name,)))
            sizes[inner] = sizes[name]
    return dataclasses.replace(graph, nodes=nodes, sizes=sizes)


def _roots(graph: Graph) -> dict[str, str]:
    """Graph input -> C expression; refuses a graph that does not follow the convention of export/onnx.py."""
    states = [name for name in graph.inputs if name != "obs"]
    wanted = {"action": None} | {name.replace("state_in_", "state_out_", 1): name for name in states}
    named = all(name.startswith("state_in_") for name in states)
    if "obs" not in graph.inputs or not named or set(graph.outputs) != set(wanted):
        raise Unsupported(
            "ONNX graph",
            expected="inputs obs, state_in_NAME… and outputs action, state_out_NAME…",
            found=f"inputs {', '.join(graph.inputs)} and outputs {', '.join(graph.outputs)}",
        )
    if "action" in graph.integer and not any(n.op == "ArgMax" and "action" in n.outputs for n in graph.nodes):
        raise Unsupported("output 'action'", expected="float32 values, or the result of ArgMax", found="another type")
    roots, at = {"obs": "obs"}, 0
    for out, name in wanted.items():
        if name is None:
            continue
        if graph.outputs[out] != graph.inputs[name] or out in graph.integer:
            raise Unsupported(
                f"state {name!r}", expected=f"{graph.inputs[name]} float32 values in {out}", found=f"{graph.outputs[out]}"
            )
        roots[name] = "state" if at == 0 else f"state + {at}"
        at += graph.inputs[name]
    return roots


def _block(op: Operator, scope: Scope) -> list[str]:
    lines = op.print(scope)
    if not lines:
        return []
    into = ", ".join(harmless(o)[:60] for o in op.node.outputs if o)
    return [f"{{ /* {op.node.op} -> {into}: {_numbers(scope.graph, op.node)} */", *(f"  {line}" for line in lines), "}"]


def _numbers(graph: Graph, node: Node) -> str:
    inputs = " + ".join(str(graph.sizes[i]) for i in node.inputs if i in graph.sizes)
    return f"{inputs} -> {graph.sizes.get(node.outputs[0], 1)} values"


def _results(graph: Graph, steps: Sequence[Step]) -> list[list[str]]:
    """For every step the results that are handed to the caller after it: when nothing reads the old state any more.

    As early as that, because the scratch memory of a new state is of use to the layers behind it.
    """
    after: list[list[str]] = [[] for _ in steps]
    for name in graph.outputs:
        if name in graph.integer:
            continue
        old, last = {name.replace("state_out_", "state_in_", 1)}, 0
        for index, step in enumerate(steps):
            old |= {view for view, (source, _) in step.views.items() if source in old}
            if name in step.writes or name in step.views or old & {*step.reads}:
                last = index
        after[last].append(name)
    return after


def _result(name: str, scope: Scope) -> list[str]:
    """Copy one result to the caller."""
    to = "action" if name == "action" else scope.roots[name.replace("state_out_", "state_in_", 1)]
    source = scope.at(name)
    if source == to:  # a Push has put it there
        return []
    lines = [f"const float *const x = {source};", f"float *const y = {to};"]
    lines.append(f"for (int i = 0; i < {scope.graph.outputs[name]}; ++i) y[i] = x[i];")
    return [f"{{ /* {harmless(name)[:60]} */", *(f"  {line}" for line in lines), "}"]


def _unused(body: list[str], state: int) -> list[str]:
    text = "\n".join(body)
    lines = [] if state else ["(void)state;"]
    if not re.search(r"\bobs\b", text):
        lines.append("(void)obs;")
    return lines


def _table(name: str, array: np.ndarray, comment: str) -> str:
    flat = array.reshape(-1)
    integer = flat.dtype.kind in "iu"
    words = [str(v) for v in flat.tolist()] if integer else [number(v) for v in flat]
    width = 24 if flat.itemsize == 1 else 12 if integer else 8
    rows = [", ".join(words[i : i + width]) for i in range(0, len(words), width)]
    note = f"/* {harmless(comment)} */\n" if comment else ""
    kind = f"{flat.dtype.name}_t" if integer else "float"
    return f"{note}static const {kind} {name}[{len(words)}] POLICY_ALIGNED = {{\n  " + ",\n  ".join(rows) + "};\n"
