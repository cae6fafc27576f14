"""The math functions of the generated code: templates/math_NAME.c, what each needs, and their two accuracies.

``exact`` is near a float's rounding; ``fast`` (math_NAME_fast.c, where there is one) costs about half and errs by about
1e-3. Both define the same C name, and say which variant they are and how far they may err.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

from .machine import Accuracy

EXACT: Mapping[str, tuple[str, ...]] = {
    "together": (),
    "rolled": (),
    "lanes": (),
    "lanes_int8": ("lanes",),
    "lanes_integer": ("lanes",),
    "lanes_limits": ("lanes_integer",),
    "lanes_tanh": ("lanes_limits",),
    "lanes_round": ("lanes_limits",),
    "lanes_store_int16": ("lanes_integer",),
    "lanes_store_int8": ("lanes_integer",),
    "dot2": ("lanes_integer",),
    "dot4_unsigned": ("lanes_integer",),
    "dot4_signed": ("lanes_integer",),
    "bits": (),
    "half": ("bits",),
    "halves": ("half",),
    "abs": ("bits",),
    "at_most": (),
    "exp_parts": ("bits",),
    "tanh": (),
    "tanh_many": ("together", "tanh"),
    "exp": ("exp_parts",),
    "sigmoid": ("exp_parts",),
    "silu": ("sigmoid",),
    "elu": ("exp_parts",),
    "softplus": ("abs", "exp_parts"),
    "mish": ("exp_parts",),
    "hard_sigmoid": (),
    "round_to_grid": (),
    "nan_in": ("bits", "rolled"),
    "to_grid": ("bits",),
    "to_grid_soft": ("bits",),
    "scaled": (),
    "steps": ("rolled", "scaled"),
    "stairs": ("rolled", "scaled"),
    "pairs": ("rolled",),
    "sums_pairs": ("pairs",),
    "sums_4bits_pairs": ("pairs",),
    "sums_3bits_pairs": ("pairs",),
    "sums_2bits_pairs": ("pairs",),
    "sums_4bits": ("rolled",),
    "sums_3bits": ("rolled",),
    "sums_2bits": ("rolled",),
    "sums_bytes": ("rolled",),
    "inverse_sqrt": ("bits",),
    "sum": (),
    "sum_of_squares": (),
}
"""Function -> what it needs, in the order in which they are printed."""
FAST: Mapping[str, tuple[str, ...]] = {
    "tanh": ("abs",),
    "exp": ("bits",),
    "sigmoid": ("abs",),
    "silu": ("abs",),
    "elu": (),
}
"""The functions that have a fast variant, and what that needs."""


def definitions(names: Iterable[str], accuracy: Accuracy, widest: int = 16) -> str:
    """C text of the functions ``names`` and of all that they need, each once; vectors of at most ``widest`` floats."""
    needs = dict(EXACT) | (dict(FAST) if accuracy == "fast" else {})
    wanted: set[str] = set()
    waiting = [name for name in names if name]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += needs[name]
    fast = FAST if accuracy == "fast" else {}
    texts = [template(f"math_{name}{'_fast' if name in fast else ''}.c") for name in EXACT if name in wanted]
    if "lanes" in wanted:
        # Tables in blocks of 8 floats cannot be read 16 at a time, whatever processor the compiler is told of.
        texts.insert(0, f"#define POLICY_WIDEST {widest}")
    return "\n".join(text.rstrip("\n") + "\n" for text in texts)


def template(name: str) -> str:
    """The text of templates/NAME."""
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
