"""ONNX files: the observation is followed from input to action, and its way becomes layers of ours."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np

from ...errors import BadInput, Unsupported, require
from ..bundle import Policy
from ..contract import Provenance
from .assemble import assemble
from .onnx_check import check_against_onnxruntime
from .onnx_constants import fold, tensor_array
from .onnx_node import Node
from .onnx_ops import Probabilities, apply
from .onnx_recurrent import StateIn
from .signal import Choice, Misfit, Signal, StateOut
from .source import Source

MAX_NODES = 20_000
_ACTION_NAMES = ("action", "actions", "continuous_actions", "discrete_actions", "output", "mu", "mean", "mean_actions")


class _Problem:
    """A value that could not be followed, and why; it matters only if the action depends on it."""

    def __init__(self, text: str) -> None:
        self.text = text


def _label(node: Any) -> str:
    """What to call a node in an error."""
    return str(node.name or next(iter(node.output), "without a name"))


class _Graph:
    """One pass over the nodes: every value by name."""

    def __init__(self, model: Any, where: str) -> None:
        self.where, self.graph = where, model.graph
        self.values: dict[str, Any] = {"": None}
        if len(self.graph.node) > MAX_NODES:
            raise BadInput(where, expected=f"at most {MAX_NODES} nodes", found=f"{len(self.graph.node)}")
        texts = [v.name for v in (*self.graph.input, *self.graph.output, *self.graph.initializer)]
        texts += [text for n in self.graph.node for text in (n.op_type, n.name, n.domain, *n.input, *n.output)]
        if not all(isinstance(text, str) for text in texts):  # protobuf hands out undecodable names as bytes
            raise BadInput(where, expected="names in UTF-8", found="damaged ones", repair="Copy the file again")
        for tensor in self.graph.initializer:
            self.values[tensor.name] = tensor_array(tensor, where)
        if self.graph.sparse_initializer:
            raise Unsupported(where, expected="dense tensors", found="sparse initializers")
        self.inputs = [i for i in self.graph.input if i.name not in self.values]
        self.states = self._state_inputs()
        self.observation = self._observation()

    def _state_inputs(self) -> dict[str, int]:
        """Graph inputs that reach only the initial state of a GRU or LSTM -> number of layers that they hold."""
        producers = {name: node for node in self.graph.node for name in node.output if name}
        names = {i.name for i in self.inputs}
        found: set[str] = set()
        for node in self.graph.node:
            for value in list(node.input[5:7]) if node.op_type in ("GRU", "LSTM") else []:
                hops = 0
                while value in producers and producers[value].input and hops < 32:
                    value, hops = producers[value].input[0], hops + 1
                if value in names:
                    found.add(value)
        return {i.name: self._layers(i) for i in self.inputs if i.name in found}

    @staticmethod
    def _layers(value: Any) -> int:
        dims = value.type.tensor_type.shape.dim
        return int(dims[0].dim_value) if len(dims) == 3 and dims[0].dim_value > 0 else 1

    def _observation(self) -> str:
        """The one input that is no state, with batch 1 and every other dimension known."""
        rest = [i for i in self.inputs if i.name not in self.states]
        if len(rest) != 1:
            raise BadInput(
                self.where,
                expected="one observation input (and recurrent states that feed a GRU or LSTM)",
                found=f"{len(rest)} inputs: {', '.join(i.name for i in rest[:6]) or 'none'}",
            )
        value = rest[0]
        tensor = value.type.tensor_type
        if tensor.elem_type not in (1, 10, 11):
            raise BadInput(self.where, expected=f"a float observation {value.name!r}", found=f"element type {tensor.elem_type}")
        shape: list[int] = []
        for index, dim in enumerate(tensor.shape.dim):
            known = dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else None
            if known is None and index:
                raise BadInput(
                    self.where,
                    expected=f"fixed dimensions of {value.name!r} behind the batch",
                    found=f"dimension {index} is dynamic ({dim.dim_param or 'unnamed'})",
                    repair="Export the policy again with the observation's length fixed",
                )
            shape.append(known or 1)
        if len(shape) > 1 and shape[0] != 1:
            raise BadInput(self.where, expected=f"batch 1 (or a dynamic batch) in {value.name!r}", found=f"batch {shape[0]}")
        if not 0 < math.prod(shape) <= 1_000_000 or not shape:
            raise BadInput(self.where, expected="an observation of 1 to 1000000 entries", found=f"shape {shape}")
        self.values |= {value.name: Signal(tuple(shape))}
        self.values |= {name: StateIn(name, 0, count) for name, count in self.states.items()}
        self.size = math.prod(shape)
        return value.name

    def follow(self) -> None:
        """Evaluate every node; what does not fit becomes a problem of its outputs."""
        for node in self.graph.node:
            results: list[Any]
            try:
                results = self._node(node)
            except Misfit as error:
                signal = next((v for n in node.input if isinstance(v := self.values.get(n), Signal)), None)
                behind = f", behind {signal.describe()}" if signal else ""
                results = [_Problem(f"node {_label(node)!r} ({node.op_type}): {error}{behind}")] * len(node.output)
            for name, value in zip(node.output, results, strict=False):
                self.values[name] = value

    def _node(self, node: Any) -> list[Any]:
        if node.domain not in ("", "ai.onnx"):
            raise Misfit(f"an operator of the foreign domain {node.domain!r}")
        inputs: list[Any] = []
        for name in node.input:
            if name not in self.values:
                raise Misfit(f"the input {name!r} that nothing makes")
            if isinstance(problem := self.values[name], _Problem):
                return [problem] * len(node.output)
            inputs.append(self.values[name])
        attributes = {a.name: self._attribute(a) for a in node.attribute}
        if node.op_type == "Constant":
            value = next((v for v in attributes.values() if v is not None), None)
            return [np.asarray(value)]
        arrays = [v for v in inputs if isinstance(v, np.ndarray)]
        if len(arrays) == len(inputs) and arrays:
            return [fold(node.op_type, arrays, attributes)]
        if node.op_type == "Shape" and isinstance(inputs[0], Signal):
            return [np.asarray(inputs[0].shape, np.int64)]
        return apply(Node(node.op_type, _label(node), inputs, attributes, len(node.output)))

    def _attribute(self, attribute: Any) -> Any:
        if attribute.HasField("t"):
            return tensor_array(attribute.t, self.where)
        onnx = require("onnx", "export")
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise Misfit("a graph inside of a node")
        try:
            return onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise Misfit(f"the attribute {attribute.name!r} that cannot be read") from error

    def action(self) -> tuple[str, Any]:
        """(name, value) of the output that is the action."""
        outputs = [(o.name, self.values.get(o.name)) for o in self.graph.output]
        acting = [(n, v) for n, v in outputs if isinstance(v, Signal | Choice | Probabilities)]
        acting = [pair for pair in acting if not isinstance(pair[1], Signal) or pair[1].steps]
        if len(acting) > 1:
            known = [pair for pair in acting if pair[0].lower() in _ACTION_NAMES]
            acting = known[:1] if known else acting
        if not acting:
            problems = [v.text for _, v in outputs if isinstance(v, _Problem)]
            raise Unsupported(
                self.where,
                expected="a chain of layers from the observation to the action",
                found=problems[0]
                if problems
                else f"outputs {', '.join(n for n, _ in outputs[:6])} that depend on no observation",
            )
        preferred = next((pair for pair in outputs if pair[0].lower() in _ACTION_NAMES), None)
        if preferred and isinstance(preferred[1], _Problem):
            raise Unsupported(
                self.where, expected="a chain of layers from the observation to the action", found=preferred[1].text
            )
        if len(acting) > 1:
            raise BadInput(
                self.where,
                expected="one action output",
                found=f"outputs {', '.join(n for n, _ in acting[:6])}",
                repair="Export the policy with the action alone, or name that output 'action'",
            )
        return acting[0]

    def state_outputs(self, signal: Signal) -> dict[str, str]:
        """State input -> state output, checked: every recurrent layer reads the state that it writes."""
        returned: dict[str, tuple[str, list[Any]]] = {}
        for output in self.graph.output:
            value = self.values.get(output.name)
            parts: list[Any] = value if isinstance(value, list) else [value]
            if parts and all(isinstance(p, StateOut) for p in parts):
                sources = [p.source for p in parts]
                if len({s.name for s in sources}) == 1 and [s.start for s in sources] == list(range(len(sources))):
                    returned[sources[0].name] = (output.name, [p.signal.steps[-1] for p in parts])
        for step in signal.steps:
            for state in step.states:
                if state.name not in returned or step not in returned[state.name][1]:
                    raise Unsupported(
                        self.where, expected=f"an output that returns the recurrent state {state.name!r}", found="none"
                    )
        return {name: output for name, (output, _) in returned.items()}


def read_onnx(source: Source) -> Policy:
    """Recover the policy in an ONNX file as layers, and hold it against ONNX Runtime where that is installed.

    Raises BadInput for damaged files, external data, NaN weights and dynamic shapes; Unsupported for graphs
    that are no chain of known layers, naming the node, its operator and the chain so far.
    """
    onnx = require("onnx", "export")
    where = str(source.path)
    if source.normalizer is not None and not source.says_no_normalizer:
        raise BadInput(where, expected="no --normalizer: an ONNX file holds its own", found=f"{source.normalizer}")
    data = source.path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise BadInput(where, expected="an ONNX file", found=f"a damaged one ({error})"[:160]) from error
    graph = _Graph(model, where)
    graph.follow()
    output, value = graph.action()
    signal = value if isinstance(value, Signal) else value.of
    states = graph.state_outputs(signal)
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    producer = f"{model.producer_name} {model.producer_version}".strip()[:80]
    provenance = Provenance(
        source=f"ONNX file ({source.path.name})",
        tools={"onnx_opset": str(opset)} | ({"onnx_producer": producer} if producer else {}),
        notes=("the graph ends in probabilities: the policy takes the most probable choice",)
        if isinstance(value, Probabilities)
        else (),
    )
    try:
        policy = assemble(source, graph.size, signal, provenance, discrete=not isinstance(value, Signal), units=_units(model))
    except ValueError as error:
        raise Unsupported(where, expected="a policy that fits the contract", found=f"{error}"[:200]) from error
    if importlib.util.find_spec("onnxruntime"):
        check_against_onnxruntime(policy, data, where, graph.observation, output, states)
    return policy


def _units(model: Any) -> str:
    """What robot-learning exporters say about the action in the file's metadata."""
    known = ("joint_names", "action_scale", "default_joint_pos", "joint_stiffness", "joint_damping")
    pairs = {p.key: p.value for p in model.metadata_props}
    return "; ".join(f"{key}: {pairs[key][:2000]}" for key in known if pairs.get(key))
