"""numpy: the layers as a person writes them, one expression each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .contestant import Contestant, NotOffered, nothing
from .subject import Subject

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    if subject.quantized:
        raise NotOffered("numpy has no int8 matrix product worth timing")
    contains = "float32 array in, float32 array out"
    if subject.layers[0]["kind"] == "gru":
        return [_gru(subject, contains)]
    stages: list[tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray] | None]] = []
    for layer in subject.layers:
        if layer["kind"] == "linear":
            weight = np.asfortranarray(subject.matrix(f"{layer['name']}.weight").T)
            stages.append((weight, subject.weights[f"{layer['name']}.bias"], None))
        else:
            stages[-1] = (*stages[-1][:2], FUNCTIONS[layer["function"]])

    def step(x: np.ndarray) -> np.ndarray:
        for weight, bias, function in stages:
            x = x @ weight + bias
            if function is not None:
                x = function(x)
        return x

    return [Contestant("numpy", contains, step, nothing)]


def _gru(subject: Subject, contains: str) -> Contestant:
    cell, out = subject.layers[0]["name"], subject.layers[1]["name"]
    from_input, from_state = (np.asfortranarray(subject.matrix(f"{cell}.weight_{part}").T) for part in ("ih", "hh"))
    input_bias, state_bias = subject.weights[f"{cell}.bias_ih"], subject.weights[f"{cell}.bias_hh"]
    weight, bias = np.asfortranarray(subject.matrix(f"{out}.weight").T), subject.weights[f"{out}.bias"]
    size = subject.sizes[1]
    half, one = np.float32(0.5), np.float32(1)
    held = [np.zeros(size, np.float32)]

    def step(x: np.ndarray) -> np.ndarray:
        h = held[0]
        a, b = x @ from_input + input_bias, h @ from_state + state_bias
        gates = half + half * np.tanh(half * (a[: 2 * size] + b[: 2 * size]))
        reset, update = gates[:size], gates[size:]
        new = np.tanh(a[2 * size :] + reset * b[2 * size :])
        held[0] = h = (one - update) * new + update * h
        return h @ weight + bias

    def forget() -> None:
        held[0] = np.zeros(size, np.float32)

    return Contestant("numpy", contains, step, forget)
