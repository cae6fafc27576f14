"""C and C++ that Pilotfish did not write, as firmware for any virtual board.

The sources together must define, with C linkage,

    void foreign_step(const float *obs, float *state, float *action);

Everything else of the image is ours: start, memory map, the symbols that the board's host looks for. So a peer's
library runs on the same board, from the same compiler with the same flags, as a policy that Pilotfish generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from pilotfish.errors import BadInput, Unsupported
from pilotfish.export.c.firmware import memory_map
from pilotfish.export.c.source import template
from pilotfish.export.c.toolchain import BASE_FLAGS, checked_flags, zig_compiler
from pilotfish.targets.profile import Target
from pilotfish.targets.virtual.board import VirtualBoard

CPLUSPLUS = (".cpp", ".cc", ".cxx")
HOSTED = (("freestanding-eabi", "linux-musleabi"), ("freestanding-none", "linux-musl"), ("freestanding", "linux-musl"))
"""Bare-metal triple -> the one with libc's headers. Libraries include <cstddef> or <string.h>, which zig has for Linux
only; and its freestanding triples always pass -ffreestanding, which turns memcpy of four bytes (every load of
CMSIS-NN) into a call. Compiled for Linux, linked for bare metal, they work; neither has position-independent code."""
HOSTED_FLAGS = (
    "-fno-pic",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-sanitize=all",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
)
HARNESS = """#include <stdint.h>
#define KEPT __attribute__((used))
KEPT float pilotfish_obs[${obs}];
KEPT float pilotfish_state[${state_room}];
KEPT float pilotfish_action[${action}];
KEPT const int32_t pilotfish_sizes[4] = {${obs}, ${state}, ${action}, 0};
void foreign_step(const float *obs, float *state, float *action);
KEPT void pilotfish_reset(void);
KEPT void pilotfish_step(void);
void pilotfish_reset(void) { for (int i = 0; i < ${state_room}; ++i) pilotfish_state[i] = 0.0f; }
void pilotfish_step(void) { foreign_step(pilotfish_obs, pilotfish_state, pilotfish_action); }
"""


@dataclass(frozen=True)
class Foreign:
    """A program of somebody else's, and how to build it."""

    sources: Mapping[str, str | Path]
    """File name -> its text, or the path of the file to compile; names ending in .cpp, .cc or .cxx are C++. A name
    that ends in .h or .hpp is written beside the others and not compiled."""
    obs: int
    """Values of an observation."""
    action: int
    """Values of an action."""
    state: int = 0
    """Values of the recurrent state, zero after a reset; 0: none."""
    include: tuple[Path, ...] = ()
    """Folders to look for headers in."""
    flags: tuple[str, ...] = ()
    """Further compiler flags, such as -DNAME=1; they come last, so they win."""
    c_standard: str = "c99"
    """-std= of the C files."""
    cpp_standard: str = "c++17"
    """-std= of the C++ files."""
    optimize: tuple[str, ...] | None = None
    """Optimization flags; None: those of the target's profile."""


def build(foreign: Foreign, target: Target, folder: Path) -> Path:
    """Compile and link into ``folder``; returns the path of firmware.elf.

    Raises CompileError with what the compiler said, BadInput where C++ objects would need constructors to run,
    Unsupported for a target that is no virtual board.
    """
    if target.link.kind != "virtual":
        raise Unsupported(f"target {target.name}, link", expected="virtual", found=target.link.kind)
    zig = zig_compiler()
    plus_plus = replace(zig, command=(*zig.command[:-1], "c++"))  # only this driver finds the headers of C++
    machine = [f"-mcpu={target.compile.mcpu}"] if target.compile.mcpu else []
    optimize = list(checked_flags(target) if foreign.optimize is None else foreign.optimize)
    common = [
        "-target",
        hosted_triple(target.compile.triple),
        *machine,
        *(flag for flag in BASE_FLAGS if not flag.startswith("-std=")),
        *optimize,
        *HOSTED_FLAGS,
        *(f"-I{path}" for path in foreign.include),
        *foreign.flags,
    ]
    objects: list[str] = []
    for name, source in foreign.sources.items():
        path = source if isinstance(source, Path) else folder / name
        if isinstance(source, str):
            path.write_text(source, encoding="utf-8")
        if path.suffix in (".h", ".hpp"):
            continue
        cplusplus = path.suffix in CPLUSPLUS
        standard = (
            [f"-std={foreign.cpp_standard}", "-fno-exceptions", "-fno-rtti"] if cplusplus else [f"-std={foreign.c_standard}"]
        )
        made = f"{len(objects)}-{path.stem}.o"
        (plus_plus if cplusplus else zig).run([*standard, *common, "-c", str(path), "-o", made], folder)
        _refuse_constructors(path, (folder / made).read_bytes())
        objects.append(made)
    sizes = {"obs": foreign.obs, "state": foreign.state, "state_room": max(foreign.state, 1), "action": foreign.action}
    (folder / "harness.c").write_text(Template(HARNESS).substitute({k: str(v) for k, v in sizes.items()}))
    (folder / "startup.c").write_text(template("startup.c"))
    (folder / "link.ld").write_text(Template(template("link.ld.in")).substitute(memory_map(target)))
    link = ["-Wl,-T,link.ld", "-Wl,-e,Reset_Handler", "-Wl,-z,max-page-size=4096", "-Wl,--gc-sections", "-o", "firmware.elf"]
    own = [*BASE_FLAGS, "-target", target.compile.triple, *machine, *optimize]
    own += ["-ffreestanding", "-ffunction-sections", "-fdata-sections"]
    zig.run([*own, *link, "harness.c", "startup.c", *objects], folder)
    return folder / "firmware.elf"


def board(foreign: Foreign, target: Target, folder: Path) -> VirtualBoard:
    """The program, built in ``folder``, on the virtual board of ``target``."""
    return VirtualBoard(build(foreign, target, folder), target)


def hosted_triple(triple: str) -> str:
    """The Linux triple whose code links into an image of the bare-metal ``triple``."""
    for bare, hosted in HOSTED:
        if bare in triple:
            return triple.replace(bare, hosted)
    raise Unsupported("compile.triple", expected="a bare-metal triple, such as thumb-freestanding-eabihf", found=repr(triple))


def find_sources(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """The files of ``names`` (paths below ``root``) as sources; BadInput names the first that is missing."""
    for name in names:
        if not (root / name).is_file():
            raise BadInput(root, expected=f"the file {name}", found="none", repair="Give the root of the library's source tree")
    return {name: root / name for name in names}


def _refuse_constructors(path: Path, made: bytes) -> None:
    # The start code runs no constructors: objects that need one would silently stay zero.
    if b".init_array" in made or b".ctors" in made:
        raise BadInput(path, expected="static data only", found="objects with constructors that must run at start")
