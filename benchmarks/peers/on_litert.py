"""LiteRT (TensorFlow Lite's successor): the interpreter's ordinary calls, and its tensors as views without copies."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from .contestant import Contestant
from .subject import Subject
from .tflite import float_model, int8_model


def versions() -> dict[str, str]:
    return {"ai-edge-litert": version("ai-edge-litert")}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:
    model = int8_model(subject) if subject.quantized else float_model(subject)
    (scratch / "policy.tflite").write_bytes(model)
    return [_ordinary(model, subject), _views(model, subject)]


def _interpreter(model: bytes) -> tuple[Interpreter, list[int], list[int]]:
    """One thread, XNNPACK as by default; with the indices of inputs and outputs in the graph's order."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    return interpreter, inputs, [detail["index"] for detail in interpreter.get_output_details()]


def _ordinary(model: bytes, subject: Subject) -> Contestant:
    interpreter, inputs, outputs = _interpreter(model)
    put, invoke, get = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
    (obs, *states), (action, *new_states) = inputs, outputs

    def plain(row: np.ndarray) -> np.ndarray:
        put(obs, row[None])
        invoke()
        return get(action)

    def recurrent(row: np.ndarray) -> np.ndarray:
        put(obs, row[None])
        invoke()
        for old, new in zip(states, new_states, strict=True):
            put(old, get(new))
        return get(action)

    def reset() -> None:
        for index, (_, size) in zip(states, subject.state, strict=True):
            put(index, np.zeros((1, size), np.float32))

    reset()
    contains = "set_tensor, invoke, get_tensor: array in, new array out"
    return Contestant("LiteRT", contains, recurrent if states else plain, reset)


def _views(model: bytes, subject: Subject) -> Contestant:
    interpreter, inputs, outputs = _interpreter(model)
    # A view must not outlive a call: the interpreter refuses to run while one is held.
    views = [interpreter.tensor(index) for index in inputs + outputs]
    invoke, obs, action = interpreter.invoke, views[0], views[len(inputs)]
    states = list(zip(views[1 : len(inputs)], views[len(inputs) + 1 :], strict=True))
    out = np.zeros((1, subject.sizes[2]), np.float32)

    def step(row: np.ndarray) -> np.ndarray:
        obs()[0] = row
        invoke()
        for old, new in states:
            old()[:] = new()
        out[:] = action()
        return out

    def reset() -> None:
        for old, _ in states:
            old()[:] = 0

    reset()
    return Contestant("LiteRT, views", "copy into the input's view, invoke, copy out of the output's view", step, reset)
