"""Policies as the report tells them: how large, how built, and what each pass changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from ...policy.bundle import Policy
from ...policy.cells import GRU, LSTM
from ...policy.contract import Contract
from ...policy.conv import Conv2d
from ...policy.grid import Quantize
from ...policy.layers import Activation, Affine, Clip, Layer, LayerNorm, Linear
from .numerals import plain

_CONTRACT: TypeAdapter[Contract] = TypeAdapter(Contract)
MAX_SETTING_CHARS = 300
"""A setting that is longer is cut; the policy itself has it in full."""


def describe(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """One dict per distinct policy, originals first.

    ``role``: "before" if another policy here was made from it, "after" if it was made from another one here,
    "between" if both, "alone" if neither.
    """
    distinct = {policy.digest: policy for policy in policies}
    ancestry = {digest: set(policy.contract.provenance.parents) - {digest} for digest, policy in distinct.items()}
    made_from = set().union(*ancestry.values()) if ancestry else set()
    described = []
    for digest, policy in distinct.items():
        parents = [parent for parent in policy.contract.provenance.parents if parent in distinct and parent != digest]
        is_parent = digest in made_from
        role = ("between" if parents else "before") if is_parent else ("after" if parents else "alone")
        described.append(_describe(policy) | {"role": role, "parents_here": parents})
    described.sort(key=lambda entry: ("before", "between", "alone", "after").index(entry["role"]))
    for position, entry in enumerate(described, start=1):
        entry["id"] = f"p{position}"
    return described


def _describe(policy: Policy) -> dict[str, Any]:
    provenance = policy.contract.provenance
    return {
        "name": policy.name,
        "digest": policy.digest,
        "parameters": policy.parameters,
        "nonzero": policy.nonzero_parameters,
        "weight_bytes": policy.weight_bytes,
        "precision": policy.precision,
        "layers": layers_in_words(policy),
        "passes": [
            {"name": record.name, "settings": in_words(record.settings), "changed": in_words(record.changed)}
            for record in provenance.passes
        ],
        "contract": _CONTRACT.dump_python(policy.contract, mode="json"),
        "golden_steps": len(policy.golden) if policy.golden else None,
        "golden_source": policy.golden.source if policy.golden else None,
    }


def layers_in_words(policy: Policy) -> str:
    """The network as a chain, such as "17 → 64 tanh → 64 tanh → 6"."""
    chain = [str(policy.contract.observation.size)]
    grid = sum(isinstance(layer, Quantize) for layer in policy.layers)
    for layer in policy.layers:
        if isinstance(layer, Activation):
            chain[-1] += f" {layer.function.replace('_', ' ')}"
        elif not isinstance(layer, Quantize):
            chain.append(_layer(layer))
    text = " → ".join(chain)
    return f"{text}; activations on an int8 grid in {grid} places" if grid else text


def _layer(layer: Layer) -> str:
    match layer:
        case Linear():
            return f"{layer.out_size}{_bits(layer.weight_bits)}"
        case GRU() | LSTM():
            return f"{type(layer).__name__} {layer.hidden_size}{_bits(layer.weight_bits)}"
        case Conv2d():
            kind = "depthwise" if layer.depthwise else "convolution"
            size = f"{layer.kernel[0]} x {layer.kernel[1]}"
            return f"{layer.out_height} x {layer.out_width} x {layer.out_channels} ({kind} {size}){_bits(layer.weight_bits)}"
        case LayerNorm():
            return "layer norm"
        case Affine():
            return "scale and offset"
        case Clip():
            return f"clip to {plain(layer.low)} … {plain(layer.high)}"
    return layer.kind


def _bits(bits: int) -> str:
    return {32: "", 16: " float16", 8: " int8"}.get(bits, f" in {bits} bits")


def in_words(settings: dict[str, Any]) -> str:
    """Settings or changes of a pass as "name value" pairs."""
    text = ", ".join(f"{str(key).replace('_', ' ')} {_value(value)}" for key, value in settings.items())
    return text if len(text) <= MAX_SETTING_CHARS else f"{text[: MAX_SETTING_CHARS - 1]}…"


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return plain(value)
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(isinstance(item, int | float) for item in value):
            return " → ".join(map(_value, value))  # passes record before and after like this
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "(" + in_words(value) + ")"
    return str(value)
