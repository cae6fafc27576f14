"""Is compression worth it here? The same policy made in several ways, each built for one target, flown and timed there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, MissingTool
from ..policy import Policy
from ..policy.cells import GRU, LSTM, CfC
from ..policy.conv import Conv2d
from ..policy.layers import Linear
from ..targets import Target
from .effects import REFUSALS, UNHURRIED_HZ, costs_of, number
from .multiway import views
from .recipe import compress, parse_recipe

WORTH = 0.05
"""A latency or a size that falls by less than this share is no gain: timings on a busy machine differ by as much."""
NARROWEST = 8
"""A distilled student's hidden layers are an eighth as wide as the policy's, but not below this (half, where that is wider)."""


@dataclass(frozen=True)
class Variant:
    """One way to make the policy."""

    name: str
    """What the table calls it."""
    recipe: tuple[dict[str, Any], ...] = ()
    """Passes, as in a recipe file; none: the policy as it is."""
    precision: str | None = None
    """What the back-end is asked to round to; None: the policy's own."""


@dataclass
class Row:
    """What became of a variant on the target, through one back-end."""

    variant: str
    backend: str
    parameters: int = 0
    nonzero: int = 0
    weight_bytes: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    """What there is of return, retained, difference, latency_us, cycles, flash_bytes, ram_bytes, artifact_bytes, as JSON."""
    keeps: bool | None = None
    """Does it keep the share of the return that was asked for? None: no return was measured."""
    refused: str = ""
    """Why there is no artifact, or none that runs here."""
    verdict: str = ""
    """In words, beside the policy as it is."""
    artifact: str = ""
    """Its folder."""

    def value(self, name: str) -> float | None:
        """The bare number of a figure."""
        found = self.figures.get(name)
        return None if found is None else found["value"]

    @property
    def bytes(self) -> float | None:
        """What the device must hold: flash, or the file."""
        return self.value("flash_bytes") or self.value("artifact_bytes")


@dataclass(frozen=True)
class Explanation:
    """The whole table, and who wins it."""

    policy: str
    target: str
    keep: float
    rows: list[Row]
    winner: str
    """Name of the variant with its back-end; empty where nothing could be built."""
    reason: str
    """In a sentence."""

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def variants(policy: Policy, target: Target, steps: int) -> list[Variant]:
    """fp32, fp16, int8, 4-bit, pruned, low-rank, distilled, and the last with int8; for policies that see images, their kernels
    in factors, too. ``steps`` teach or heal each."""
    heal = {"pass": "heal", "steps": steps}
    cells = [layer for layer in policy.layers if isinstance(layer, GRU | LSTM | CfC)]
    hidden = [layer.out_size for layer in policy.layers if isinstance(layer, Linear)][:-1]
    student: dict[str, Any] = {
        "pass": "distill", "hidden": [max(width // 8, min(width // 2, 2 * NARROWEST), 1) for width in hidden], "steps": 2 * steps
    }  # fmt: skip
    if cells:
        student |= {"cell": "lstm" if isinstance(cells[0], LSTM) else "gru", "cell_size": max(cells[0].hidden_size // 2, 1)}
    eyes = [layer for layer in policy.layers if isinstance(layer, Conv2d)]
    if eyes and all(_plain(layer) for layer in eyes):
        student["conv"] = [[max(layer.out_channels // 2, 1), layer.kernel[1], layer.stride[1]] for layer in eyes]
    factors = {"keep": 0.4, "criterion": "outputs"}
    kernels = [
        Variant("Tucker", ({"pass": "tucker"} | factors, heal)),
        Variant("CP", ({"pass": "cp"} | factors, heal)),
    ]  # fmt: skip
    half = {"pass": "quantize", "weight_bits": 16, "activations": "float"}
    pruned = {"pass": "prune", "sparsity": 0.8, "scope": "erdos-renyi", "heal": {"steps": max(steps // 4, 1), "iterations": 1}}
    return [
        Variant(f"{policy.precision}, as it is"),
        # A back-end with arithmetic of 16 bits rounds by itself; elsewhere the weights are stored so and widened.
        Variant("fp16", precision="fp16") if "fp16" in target.precisions else Variant("fp16 weights", (half,)),
        Variant("int8", ({"pass": "quantize"}, heal)),
        Variant("4-bit weights", ({"pass": "quantize", "weight_bits": 4}, heal)),
        Variant("80 % pruned", (pruned, {"pass": "trim"}, heal)),
        Variant("low rank", ({"pass": "factorize", "energy": 0.999, "criterion": "outputs"}, heal)),
        *(kernels if views(policy.layers) else ()),
        Variant("distilled", (student,)),
        Variant("distilled, int8", (student, {"pass": "quantize"}, heal)),
    ]


def _plain(layer: Conv2d) -> bool:
    """Is it one that a student's settings can name: alike in both directions, and without padding?"""
    alike = layer.height == 1 or (layer.kernel[0] == layer.kernel[1] and layer.stride[0] == layer.stride[1])
    return alike and layer.padding == (0, 0) and not layer.depthwise


def explain(
    policy: Policy,
    target: Target,
    output: Path,
    *,
    backend: str | None = None,
    env: str | None = None,
    episodes: int = 10,
    keep: float = 0.95,
    steps: int = 20_000,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    chosen: Sequence[Variant] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Explanation:
    """Make each of ``chosen`` (default: :func:`variants`), build it for ``target``, fly ``episodes`` of the artifact, time it.

    Every back-end that the target lists is tried unless ``backend`` names one. The policies and artifacts stay in
    ``output``, so that the winner can be used. A variant that cannot be made, built or run here is a row that says why.
    Raises BadInput for a back-end that the target does not have; where nothing can be built, there is no winner.
    """
    from ..export.build import BACKENDS

    env = env or policy.contract.provenance.env
    backends = [backend] if backend else [name for name in target.backends if name in BACKENDS]
    if backend is not None and backend not in target.backends:
        raise BadInput(
            f"back-end {backend!r}", expected=f"one that {target.name} lists: {', '.join(target.backends)}", found=repr(backend)
        )
    rows: list[Row] = []
    for variant in chosen if chosen is not None else variants(policy, target, steps):
        try:
            made = policy
            if variant.recipe:
                made = compress(
                    policy, parse_recipe(variant.recipe, variant.name), env=env, seed=seed, device=device, progress=progress
                )
        except (BadInput, MissingTool) as reason:
            rows.append(Row(variant.name, "", refused=str(reason)))
            say(f"{variant.name}: {reason}")
            continue
        made = made.replace(
            name=_file_safe(f"{policy.name}-{variant.name}") if variant.recipe or variant.precision else policy.name
        )
        for name in backends:
            row = Row(variant.name, name, made.parameters, made.nonzero_parameters, made.weight_bytes)
            _prove(row, made, policy, variant, target, output, env, episodes, seed, keep)
            rows.append(row)
            say(_line(row))
        if variant.recipe:
            made.save(output / f"{made.name}.policy")
    return _judged(policy, target, keep, rows)


def _prove(
    row: Row, made: Policy, original: Policy, variant: Variant, target: Target, output: Path, env: str | None, episodes: int,
    seed: int, keep: float,
) -> None:  # fmt: skip
    from ..export.build import export_policy
    from ..runtime.evaluate import evaluate

    try:
        artifact = export_policy(made, target, row.backend, output, precision=variant.precision, control_hz=UNHURRIED_HZ)
        row.artifact = str(artifact.path)
        row.figures |= costs_of(artifact)
        if env is not None and episodes:
            flown = evaluate(artifact, env=env, episodes=episodes, seed=seed, gate=keep, reference=original)
            row.figures |= {name: flown["figures"][name] for name in ("return", "retained", "difference")}
            row.keeps = bool(flown["passed"])
    except REFUSALS as reason:
        row.refused = str(reason)


def _judged(policy: Policy, target: Target, keep: float, rows: list[Row]) -> Explanation:
    """Verdicts beside the policy as it is, and the winner: the fastest that keeps the return, of equals the smallest."""
    built = [row for row in rows if not row.refused]
    if not built:
        reasons = "; ".join(dict.fromkeys(row.refused for row in rows))
        return Explanation(policy.name, target.name, keep, rows, "", f"nothing could be built for {target.name}: {reasons}")
    plain = [row for row in built if row.variant == rows[0].variant]
    for row in built:
        same = next((other for other in plain if other.backend == row.backend), None)
        row.verdict = _verdict(row, same, keep)
    good = [row for row in built if row.keeps is not False]
    if not good:
        return Explanation(policy.name, target.name, keep, rows, "", f"nothing that was built keeps {keep:.0%} of the return")
    timed = [row for row in good if row.value("latency_us") is not None]
    speed = min((row.value("latency_us") or 0.0 for row in timed), default=None)
    if speed is None:
        quick, basis = good, "no latency is known here, so size decides"
    else:
        quick = [row for row in timed if (row.value("latency_us") or 0.0) <= speed * (1 + WORTH)]
        basis = (
            "the fastest" if len(quick) == 1 else f"the smallest of the {len(quick)} that are equally fast, within {WORTH:.0%}"
        )
    least = min(row.bytes or 0.0 for row in quick)
    best = next(row for row in quick if (row.bytes or 0.0) <= least * (1 + WORTH))  # the plainest first
    unproven = "" if best.keeps else "; no return was measured"
    share = f" of those that keep {keep:.0%} of the return" if best.keeps else ""
    alone = "nothing beats the policy as it is: " if best in plain and len(built) > len(plain) else ""
    return Explanation(
        policy.name, target.name, keep, rows, f"{best.variant} ({best.backend})", f"{alone}{basis}{share}{unproven}"
    )


def _verdict(row: Row, plain: Row | None, keep: float) -> str:
    if row is plain:
        return "the policy as it is" if row.keeps is not False else f"keeps less than {keep:.0%} of the return"
    words = [] if row.keeps is not False else [f"keeps less than {keep:.0%} of the return"]
    if plain is not None:
        gains = []
        for name, mine, theirs in (
            ("faster", row.value("latency_us"), plain.value("latency_us")), ("smaller", row.bytes, plain.bytes)
        ):  # fmt: skip
            if mine and theirs and mine < theirs * (1 - WORTH):
                gains.append(f"{theirs / mine:.1f} x {name}")
            elif mine and theirs and mine > theirs * (1 + WORTH):
                gains.append(f"{mine / theirs:.1f} x {'slower' if name == 'faster' else 'larger'}")
        if not any(gain.endswith(("faster", "smaller")) for gain in gains):
            gains.insert(0, "no gain here")
        words += gains
    return ", ".join(words)


def _line(row: Row) -> str:
    if row.refused:
        return f"{row.variant} ({row.backend}): {row.refused}"
    told = [
        f"{number(row.figures[name]['value'])} {row.figures[name]['unit']}"
        for name in ("return", "latency_us")
        if name in row.figures
    ]
    return f"{row.variant} ({row.backend}): {', '.join(told)}, {row.bytes or 0:,.0f} bytes"


def _file_safe(text: str) -> str:
    return "".join(
        letter if letter.isalnum() or letter in "._-" else "_" for letter in text.replace(", ", "-").replace(" % ", "-")
    )[:80]
