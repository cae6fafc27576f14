"""Do layers and weights belong together: widths that chain, tensors that are there, numbers that are finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import BadInput
from .layers import Layers, largest_integer, matrix_bits, tensor_shapes, widths


def check_network(where: object, layers: Layers, weights: Mapping[str, np.ndarray], in_size: int, out_size: int) -> None:
    """Refuse a network whose widths do not chain, whose tensors are missing, misshapen or not finite."""
    width = in_size
    names: set[str] = set()
    wanted: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    bits: dict[str, int] = {}
    for layer in layers:
        takes, gives = widths(layer)
        label = f"{layer.kind} {getattr(layer, 'name', '')}".strip()
        if takes is not None and takes != width:
            raise BadInput(where, expected=f"layer {label} to take {width} inputs", found=f"{takes}")
        width = gives or width
        if hasattr(layer, "name"):
            if layer.name in names:
                raise BadInput(where, expected="one layer per name", found=f"the name {layer.name!r} twice")
            names.add(layer.name)
        for name, need in tensor_shapes(layer).items():
            if wanted.setdefault(name, need) != need:  # a tied layer and the one whose weight it uses
                raise BadInput(where, expected=f"one shape and type of {name}", found=f"{wanted[name]} and {need}")
        bits |= matrix_bits(layer)
    if width != out_size:
        raise BadInput(where, expected=f"{out_size} network outputs, as the action says", found=f"{width}")
    for name, (shape, dtype) in wanted.items():
        tensor = weights.get(name)
        if tensor is None:
            raise BadInput(where, expected=f"the tensor {name}", found="none")
        if tensor.shape != shape or tensor.dtype != dtype:
            raise BadInput(where, expected=f"{name} {dtype}{list(shape)}", found=f"{tensor.dtype}{list(tensor.shape)}")
        if dtype.kind == "f" and not np.isfinite(tensor).all():
            bad = int((~np.isfinite(tensor)).sum())
            raise BadInput(
                where,
                expected=f"finite numbers in {name}",
                found=f"{bad} NaN or infinite",
                repair="Train or save the policy again",
            )
        most = largest_integer(bits.get(name, 8))
        if bits.get(name, 8) < 8 and tensor.size and (tensor.max() > most or tensor.min() < -most):
            found = f"{tensor.min()} to {tensor.max()}"
            raise BadInput(where, expected=f"integers from {-most} to {most} in {name}, as {bits[name]} bits hold", found=found)
    if extra := sorted(set(weights) - set(wanted)):
        raise BadInput(where, expected="only tensors that a layer uses", found=f"{', '.join(extra[:4])}")
