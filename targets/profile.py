"""The target profile: what a device is, as a TOML file that a user copies and edits."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from .onnxruntime import OnnxRuntime
from .reach import Link, parse_link
from .tensorrt import TensorRT
from .tvm import Tvm
from .uart import Uart

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Backend = Literal["onnxruntime", "c", "tensorrt", "tvm"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
MAX_CPI = 1000.0
"""Cycles per instruction beyond this are a slip of the pen."""


@dataclass(frozen=True, config=STRICT)
class Cpu:
    """The processor."""

    isa: str
    """"native" for the machine that runs Pilotfish, else an instruction set such as "thumbv7em"."""
    core: str = ""
    """Core name, such as "cortex-m4"."""
    clock_hz: float | None = Field(default=None, gt=0)
    """Core clock; None: read from the machine."""
    features: tuple[str, ...] = ()
    """What the compiler may use, such as "fpu-sp", "dsp"."""
    threads: int = Field(default=1, ge=1)
    """Threads that an inference may use."""


@dataclass(frozen=True, config=STRICT)
class Memory:
    """What there is to fill; None: not a limit worth checking."""

    flash_bytes: int | None = Field(default=None, gt=0)
    """Non-volatile program memory."""
    ram_bytes: int | None = Field(default=None, gt=0)
    """Main RAM that code and stack may use."""
    flash_origin: int = 0x08000000
    """Where flash is mapped."""
    ram_origin: int = 0x20000000
    """Where RAM is mapped."""


@dataclass(frozen=True, config=STRICT)
class Control:
    """The deadline that latency is judged by."""

    hz: float = Field(default=50.0, gt=0)
    """Decisions per second; a job or a flag may override it."""
    jitter_budget_us: float | None = Field(default=None, gt=0)
    """Tolerated deviation of the period, in microseconds."""


@dataclass(frozen=True, config=STRICT)
class Compile:
    """How the C back-end compiles for it."""

    triple: str = ""
    """Target triple for clang/zig, such as "thumb-freestanding-eabihf"; empty: the machine at hand."""
    mcpu: str = ""
    """Value for -mcpu, such as "cortex_m4"."""
    flags: tuple[str, ...] = ("-O3",)
    """Optimisation flags."""
    accuracy: Literal["exact", "fast"] = "exact"
    """Activation functions: exact to float32's last digits, or fast within about 1e-3; the code states each bound."""


@dataclass(frozen=True, config=STRICT)
class Cost:
    """What an instruction takes on a virtual board: a cycle table where one is published, else cycles per instruction as
    others measured them; absent where latency is measured, or where nobody has published anything."""

    table: str = ""
    """Name of a cycle table, such as "cortex-m4"; empty: ``cpi`` says it."""
    cpi: tuple[float, float, float] | None = None
    """(low, typical, high) cycles per executed instruction, stalls included; None: ``table`` says it."""
    source: str = ""
    """Where ``cpi`` was published, such as a paper or a manual; required beside it."""
    flash_wait_states: int = Field(default=0, ge=0)
    """Wait states of a flash read at ``clock_hz``."""
    flash_line_bytes: int = Field(default=16, gt=0)
    """Width of one flash line (ART accelerator and similar)."""
    instruction_lines: int = Field(default=0, ge=0)
    """Lines of the instruction cache; 0: none."""
    data_lines: int = Field(default=0, ge=0)
    """Lines of the data cache for flash reads; 0: none."""

    def __post_init__(self) -> None:
        if bool(self.table) == (self.cpi is not None):
            raise ValueError("either table or cpi must say what an instruction takes, and not both")
        if self.cpi is None:
            if self.source:
                raise ValueError("source belongs to cpi; a table names its own source")
            return
        if not 0 < self.cpi[0] <= self.cpi[1] <= self.cpi[2] <= MAX_CPI:
            raise ValueError(f"cpi must be low <= typical <= high, above 0 and at most {MAX_CPI:g}")
        if not self.source.strip():
            raise ValueError("cpi needs a source: who published it")
        if self.flash_wait_states:
            raise ValueError("cpi holds what flash costs: leave flash_wait_states out")


@dataclass(frozen=True, config=STRICT)
class Target:
    """One device profile."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What -t takes."""
    description: str
    """One line for people."""
    cpu: Cpu
    """The processor."""
    link: Link
    """How it is reached."""
    backends: Annotated[tuple[Backend, ...], Field(min_length=1)]
    """Back-ends that make sense, in order of preference."""
    precisions: tuple[Precision, ...] = ("fp32",)
    """Precisions that the device runs."""
    memory: Memory = Field(default_factory=Memory)
    """What there is to fill."""
    control: Control = Field(default_factory=Control)
    """The deadline."""
    compile: Compile = Field(default_factory=Compile)
    """How the C back-end compiles."""
    cost: Cost | None = None
    """The cycle model, for a virtual board."""
    onnxruntime: OnnxRuntime | None = None
    """Which execution provider the ONNX Runtime back-end uses; None: the processor."""
    tensorrt: TensorRT | None = None
    """How the TensorRT back-end builds for its GPU."""
    tvm: Tvm | None = None
    """How the TVM back-end builds, where it is not for the machine at hand."""
    uart: Uart | None = None
    """The serial line that a firmware of its own answers on; None: none is built."""


TARGET: TypeAdapter[Target] = TypeAdapter(Target)
T = TypeVar("T")


def validated(schema: TypeAdapter[T], data: Any, where: object) -> T:
    """Check ``data`` against a schema; the first mistake becomes one line that suggests the near key."""
    try:
        return schema.validate_python(data)
    except ValidationError as error:
        unknown = ("unexpected_keyword_argument", "extra_forbidden")
        # A misspelt required key is both missing and unknown: only the latter says how to mend it.
        first = min(error.errors(), key=lambda mistake: mistake["type"] not in unknown)
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise BadInput(where, expected=f"the key {place!r}", found="none") from error
        if first["type"] in unknown:
            raise BadInput(
                where, expected="only known keys", found=f"{place!r}", repair=suggestion(schema, first["loc"])
            ) from error
        raise BadInput(
            where, expected=f"a valid {place or 'value'}", found=f"{first['msg']} (got {str(first['input'])[:60]!r})"
        ) from error


def suggestion(schema: TypeAdapter[Any], loc: tuple[int | str, ...]) -> str:
    """ "Did you mean …?" from every property name that the schema knows."""
    return near(str(loc[-1]), _known_keys(schema))


@lru_cache
def _known_keys(schema: TypeAdapter[Any]) -> list[str]:
    known: set[str] = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                known.update(properties)
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(schema.json_schema())
    return sorted(known)


def near(word: str, known: list[str]) -> str:
    """ "Did you mean 'x'?" for the nearest known word, else the list of known words."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {match[0]!r}?" if match else f"Known: {', '.join(known)}"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a TOML file, or say where it is wrong."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(path, expected=what, found="no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise BadInput(path, expected=f"{what} (TOML)", found=str(error)) from error


def load_target(name: str | os.PathLike[str]) -> Target:
    """A shipped profile by name, or any profile by the path of its .toml file."""
    shipped = shipped_targets()
    path = shipped.get(str(name)) or Path(name)
    if path.suffix != ".toml" or (str(name) not in shipped and not path.exists()):
        raise BadInput(
            f"target {str(name)!r}",
            expected="a shipped target or the path of a .toml profile",
            found="neither",
            repair=near(str(name), sorted(shipped)),
        )
    return validated(TARGET, read_toml(path, "a target profile"), path)


def shipped_targets() -> dict[str, Path]:
    """Name -> file of every profile that comes with Pilotfish."""
    folder = Path(str(resources.files("pilotfish.targets") / "profiles"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def with_accuracy(target: Target, accuracy: str | None) -> Target:
    """The target with activation functions of that accuracy; None: as the profile says."""
    if accuracy is None:
        return target
    known: dict[str, Literal["exact", "fast"]] = {"exact": "exact", "fast": "fast"}
    chosen = known.get(accuracy)
    if chosen is None:
        raise BadInput("--accuracy", expected="exact or fast", found=repr(accuracy), repair=near(accuracy, ["exact", "fast"]))
    return dataclasses.replace(target, compile=dataclasses.replace(target.compile, accuracy=chosen))


def with_link(target: Target, url: str | None) -> Target:
    """The target, reached as ``url`` says (see :func:`pilotfish.targets.reach.parse_link`); None: as the profile says."""
    return target if url is None else dataclasses.replace(target, link=parse_link(url))


def with_tune_trials(target: Target, trials: int | None) -> Target:
    """The target with that many trials of the TVM back-end's search; None: as the profile says."""
    if trials is None:
        return target
    return dataclasses.replace(target, tvm=dataclasses.replace(target.tvm or Tvm(), tune_trials=trials))
