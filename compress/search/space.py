"""The space of a search: what a genome may be for a teacher and a target, and how a sampler draws from it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ...errors import BadInput, Unsupported
from ...policy import Policy
from ...policy.layers import Activation, ActivationName
from ...targets import Target
from ...targets.profile import read_toml, validated
from ..passes import STRICT
from .genome import INTEGER_BITS, Genome, shapes, smaller

if TYPE_CHECKING:
    from optuna.trial import Trial

Width = Annotated[int, Field(ge=1, le=65_536)]
Share = Annotated[float, Field(gt=0, le=1)]
Bits = Literal[2, 3, 4, 8, 16, 32]
PACKAGES = {"onnxruntime": "onnxruntime", "tvm": "tvm"}
"""What a back-end cannot do without."""
MEMORIES = (8, 16, 32)
"""Widths of cells, unless told otherwise."""
DEFAULT_ACTIVATIONS: tuple[ActivationName, ...] = ("tanh", "relu")


@dataclass(frozen=True, config=STRICT)
class Space:
    """Choices per gene. An empty one means: what suits the teacher and the target."""

    depth: tuple[Annotated[int, Field(ge=0, le=16)], Annotated[int, Field(ge=0, le=16)]] = (1, 3)
    """Fewest and most hidden layers."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (4, 6, 8, 12, 16, 24, 32, 48, 64)
    """Of every hidden layer by itself."""
    activations: tuple[ActivationName, ...] = ()
    """After the hidden layers; empty: the teacher's own, tanh and relu."""
    sparsity: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = (0.0, 0.5, 0.75)
    """Shares of zeros; only back-ends that skip zeros gain by them."""
    rank: Annotated[tuple[Share, ...], Field(min_length=1)] = (1.0, 0.5, 0.25)
    """Ranks as shares of the narrowest hidden layer; 1: not factorized."""
    bits: tuple[Bits, ...] = ()
    """Of weights, each layer by itself among those of at most 8; empty: what the target has arithmetic or storage for."""
    reads: tuple[Literal["float", "int8", "int16"], ...] = ("int8", "int16")
    """What integer layers read."""
    backends: tuple[str, ...] = ()
    """Empty: all that the target lists and that build here."""
    decide_every: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)] = (1,)
    """Steps of the teacher between two decisions, whose action is held meanwhile: a decision may take so many times as long."""
    cells: tuple[Annotated[int, Field(ge=0, le=4096)], ...] = ()
    """Widths of a GRU in front of the hidden layers, 0 for none; empty: 8, 16 and 32 for a teacher with memory, else none."""
    studies: Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(min_length=1)] = (1, 2, 4)
    """How often a float student gets its second lesson: small ones need more of them."""


def space_of(settings: dict[str, Any], where: object = "search space") -> Space:
    """A table of settings -> space; BadInput names a misspelt one."""
    return validated(TypeAdapter(Space), settings, where)


def load_space(path: Path) -> Space:
    """Read a TOML file of :class:`Space`'s settings; BadInput says what is wrong with it."""
    return space_of(read_toml(path, "a search space"), path)


def fitted(space: Space, teacher: Policy, target: Target) -> Space:
    """``space`` with what it leaves open filled in. BadInput for back-ends that the target lacks, Unsupported for memory."""
    from ...export.build import BACKENDS

    memory = bool(teacher.contract.state)
    cells = tuple(sorted(set(space.cells or (MEMORIES if memory else (0,)))))
    if memory and 0 in cells:
        raise BadInput(
            f"a search from {teacher.name}", expected="cells without 0, as the teacher has a memory and so must its students",
            found=f"cells = {list(cells)}",
        )  # fmt: skip
    if max(space.decide_every) > 1 and teacher.contract.timing.actions_per_decision > 1:
        raise Unsupported(
            f"a search from {teacher.name}", expected="decide_every = [1] for a teacher of several actions per decision",
            found=f"{list(space.decide_every)}",
        )  # fmt: skip
    if max(space.decide_every) > 1 and teacher.contract.timing.control_hz is None:
        raise BadInput(
            f"a search from {teacher.name}", expected="a teacher whose contract says control_hz, for decide_every", found="none"
        )
    if space.depth[0] > space.depth[1]:
        raise BadInput("search space", expected="depth = (fewest, most)", found=f"{space.depth}")
    known = [name for name in target.backends if name in BACKENDS]
    if strange := [name for name in space.backends if name not in known]:
        raise BadInput("search space", expected=f"back-ends of {target.name}: {', '.join(known)}", found=", ".join(strange))
    here = [name for name in known if find_spec(PACKAGES.get(name, "numpy")) is not None]
    if not here and not space.backends:
        missing = " ".join(PACKAGES[name] for name in known)
        raise BadInput("search space", expected=f"a back-end of {target.name} that builds here", found=f"none of {missing}")
    own: list[ActivationName] = [layer.function for layer in teacher.layers if isinstance(layer, Activation)][:1]
    bits = space.bits or _bits(target)
    activations: tuple[ActivationName, ...] = space.activations or tuple(dict.fromkeys((*own, *DEFAULT_ACTIVATIONS)))
    return Space(
        space.depth, tuple(sorted(set(space.widths))), activations, tuple(sorted(set(space.sparsity))),
        tuple(sorted(set(space.rank))), tuple(sorted(set(bits), reverse=True)), space.reads, space.backends or tuple(here),
        tuple(sorted(set(space.decide_every))), cells, tuple(sorted(set(space.studies))),
    )  # fmt: skip


def _bits(target: Target) -> tuple[Bits, ...]:
    """float32; integers where the target computes with them; packed ones where its flash is counted."""
    if "int8" not in target.precisions:
        return (32,)
    return (32, 8, 4) if target.link.kind == "virtual" else (32, 8)


def draw(space: Space, trial: Trial, ends: tuple[int, int]) -> Genome:
    """Ask ``trial`` for every gene of a fitted space; ``ends``: sizes of observation and action."""
    # A gene without a choice is not asked for: studies that have no use for it stay as they were.
    cell = _choice(trial, "cell", space.cells)
    every = _choice(trial, "decide_every", space.decide_every)
    studies = _choice(trial, "studies", space.studies)
    ends = (cell or ends[0], ends[1])
    depth = trial.suggest_int("depth", *space.depth)
    hidden = tuple(int(trial.suggest_categorical(f"width{index}", space.widths)) for index in range(depth))
    activation = str(trial.suggest_categorical("activation", space.activations)) if hidden else space.activations[0]
    rank = float(trial.suggest_categorical("rank", space.rank)) if hidden else 1.0
    low = max(1, round(rank * min(hidden))) if hidden else 1
    if not any(smaller(low, shape) for shape in shapes(ends, hidden)):
        rank = 1.0  # no matrix would get smaller: the genome of a policy that is not factorized
    sparsity = float(trial.suggest_categorical("sparsity", space.sparsity))
    narrow = tuple(bits for bits in space.bits if bits <= INTEGER_BITS)
    wide = tuple(bits for bits in space.bits if bits > INTEGER_BITS)
    numbers = str(trial.suggest_categorical("numbers", tuple(f"float{bits}" for bits in wide) + (("integer",) if narrow else ())))
    reads = "float"
    if numbers == "integer":
        # Factorized matrices come in pairs whose names differ from the student's, and a cell has its own: all share one width.
        free = depth + 1 if rank == 1 and not cell else 1
        chosen = tuple(int(trial.suggest_categorical(f"bits{index}", narrow)) for index in range(free))
        bits = chosen if free > 1 else chosen * (depth + 1)
        reads = str(trial.suggest_categorical("reads", space.reads))
    else:
        bits = (int(numbers.removeprefix("float")),) * (depth + 1)
    backend = str(trial.suggest_categorical("backend", space.backends))
    return Genome(hidden, activation, sparsity, rank, bits, reads, backend, every, cell, studies)


def _choice(trial: Trial, name: str, choices: tuple[int, ...]) -> int:
    return choices[0] if len(choices) == 1 else int(trial.suggest_categorical(name, choices))


def shape_of(genome: Genome) -> dict[str, Any]:
    """What :func:`draw` asks for where a genome shall have the float student of this one."""
    widths = {f"width{index}": width for index, width in enumerate(genome.hidden)}
    rest = {"decide_every": genome.decide_every, "cell": genome.cell, "studies": genome.studies}
    return {"depth": len(genome.hidden), **rest, **widths} | ({"activation": genome.activation} if genome.hidden else {})


def genes_of(genome: Genome) -> dict[str, Any]:
    """All that :func:`draw` asks for where it shall give ``genome``."""
    genes = {"sparsity": genome.sparsity, "rank": genome.rank, "backend": genome.backend, **shape_of(genome)}
    if genome.bits[0] > INTEGER_BITS:
        return genes | {"numbers": f"float{genome.bits[0]}"}
    return genes | {"numbers": "integer", "reads": genome.reads} | {f"bits{index}": b for index, b in enumerate(genome.bits)}


def anchors(space: Space) -> list[Genome]:
    """A fitted space's plain students: dense, as precise as it allows, of one and of two layers, a narrow
    and a wide one each. A search that begins with them knows early what the teacher's task asks for; random search does not."""
    numbers = max(space.bits)
    found: dict[str, Genome] = {}
    for depth in (1, 2):
        for share in (1 / 3, 2 / 3):
            depth = min(max(depth, space.depth[0]), space.depth[1])
            hidden = (space.widths[round(share * (len(space.widths) - 1))],) * depth
            genome = Genome(
                hidden, space.activations[0], space.sparsity[0], space.rank[-1], (numbers,) * (depth + 1),
                "float" if numbers > INTEGER_BITS else space.reads[0], space.backends[0], space.decide_every[0],
                space.cells[len(space.cells) // 2], space.studies[0],
            )  # fmt: skip
            found.setdefault(genome.key, genome)
    return list(found.values())


def ends_of(policy: Policy) -> tuple[int, int]:
    """Sizes of what a student of ``policy`` observes and gives."""
    return policy.contract.observation.size, policy.contract.action.size
