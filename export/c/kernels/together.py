"""Loads that stand together: small cores with an FPU pipeline them, and their compilers would spread them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..operators.operator import Scope


def multiply_add(scope: Scope, factors: Sequence[tuple[str, str]], sums: Sequence[str]) -> str:
    """C: sum += weight * input for every pair of ``factors``; all loads come before the arithmetic.

    ``sums`` are as many names; an input that several share is loaded once.
    """
    if not scope.machine.fpu or scope.machine.vectors:
        return " ".join(f"{total} += {weight} * {value};" for (weight, value), total in zip(factors, sums, strict=True))
    scope.math.add("together")
    values = {value: f"v{index}" for index, value in enumerate(dict.fromkeys(value for _, value in factors))}
    loads = [f"{name} = {value}" for value, name in values.items()]
    loads += [f"a{index} = {weight}" for index, (weight, _) in enumerate(factors)]
    held = ", ".join(f"POLICY_IN_REGISTER({load.split()[0]})" for load in loads)
    products = [f"a{index} *= {values[value]};" for index, (_, value) in enumerate(factors)]
    added = [f"{total} += a{index};" for index, total in enumerate(sums)]
    return " ".join(["{ float", ", ".join(loads) + ";", f"POLICY_TOGETHER({held});", *products, *added, "}"])
