"""Which passes may follow which: told before the first one runs, so that a wrong order costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import BadInput

_INTEGERS = "its scales belong to the very matrices that it rounded, which this pass would change"
_ZEROS = "its zeros would be lost"
WRONG: dict[tuple[str, str], tuple[str, str]] = {
    **{
        ("quantize", later): (_INTEGERS, f"Put {later!r} before 'quantize'")
        for later in ("prune", "trim", "shrink", "factorize", "tucker", "cp", "fold", "lowrank", "hash", "tie")
    },
    ("quantize", "quantize"): (_INTEGERS, "Quantize once, with a table of bits per layer if they differ"),
    ("prune", "lowrank"): (f"{_ZEROS}: a product of two thin matrices has none", "Put 'prune' behind 'lowrank'"),
    **{
        ("prune", later): (f"{_ZEROS}: the factors of a kernel have none", f"Put 'prune' behind {later!r}")
        for later in ("tucker", "cp")
    },
    ("prune", "hash"): (f"{_ZEROS}: one number stands in many places", "Use one of the two"),
    ("prune", "tie"): (f"{_ZEROS}: one number stands in several places", "Use one of the two"),
    ("tie", "quantize"): ("a layer that shares another's matrix reads it as float32", "Use one of the two"),
}
"""(earlier pass, later pass) -> (why not, what to do); only passes that make new weights in between lift it."""
AFRESH = ("distill",)
"""Passes that begin with new weights: nothing that came before is in their way."""


def check_order(recipe: Sequence[Any], where: str) -> None:
    """Raise BadInput at the first pass of ``recipe`` that cannot work on what an earlier one leaves."""
    before: list[str] = []
    for number, config in enumerate(recipe, 1):
        if config.kind in AFRESH:
            before = []
        for earlier in before:
            if (earlier, config.kind) in WRONG:
                why, repair = WRONG[earlier, config.kind]
                raise BadInput(
                    f"{where}, pass {number} ({config.kind})",
                    expected=f"a pass that may follow {earlier!r}",
                    found=f"{config.kind!r}, which may not: {why}",
                    repair=repair,
                )
        if _changes_all(config):
            before.append(config.kind)


def _changes_all(config: Any) -> bool:
    """A quantize that leaves layers float, or a pass of a few layers, may leave the others to the next pass."""
    if getattr(config, "keep_float", ()) or isinstance(getattr(config, "weight_bits", None), dict):
        return False
    return not getattr(config, "layers", ())
