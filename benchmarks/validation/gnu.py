"""Foreign sources built by the GNU compilers, with which most published figures were made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from string import Template

from boards.foreign import HARNESS, Foreign

from pilotfish.errors import BadInput
from pilotfish.export.c.firmware import memory_map
from pilotfish.export.c.source import template
from pilotfish.targets.profile import Target

RISCV = ("-march=rv32imc", "-mabi=ilp32")
MACHINES = {
    "cortex-m4": ["-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    "cortex-m7": ["-mthumb", "-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"],
}
FLAGS = ["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-ffunction-sections", "-fdata-sections", "-w"]


def build(foreign: Foreign, target: Target, folder: Path, gxx: Path, optimize: str) -> Path:
    """Compile and link C++ sources with the compiler ``gxx`` (arm-none-eabi-g++); returns the path of the ELF file."""
    if target.cpu.core not in MACHINES:
        raise BadInput("gnu compiler", expected=f"one of {sorted(MACHINES)}", found=target.cpu.core)
    common = [str(gxx), *MACHINES[target.cpu.core], optimize, *FLAGS]
    objects = []
    sizes = {"obs": foreign.obs, "state": foreign.state, "state_room": max(foreign.state, 1), "action": foreign.action}
    texts = dict(foreign.sources) | {
        "harness.c": Template(HARNESS).substitute({k: str(v) for k, v in sizes.items()}),
        "startup.c": template("startup.c"),
    }
    for name, source in texts.items():
        path = source if isinstance(source, Path) else folder / name
        if isinstance(source, str):
            path.write_text(source, encoding="utf-8")
        language = ["-x", "c", f"-std={foreign.c_standard}"] if path.suffix == ".c" else [f"-std={foreign.cpp_standard}"]
        flags = [flag for flag in common if not (path.suffix == ".c" and flag in ("-fno-rtti", "-fno-threadsafe-statics"))]
        made = folder / f"{path.stem}.o"
        include = [f"-I{path}" for path in foreign.include]
        subprocess.run([*flags, *include, *language, "-c", str(path), "-o", str(made)], check=True)
        objects.append(str(made))
    (folder / "link.ld").write_text(Template(template("link.ld.in")).substitute(memory_map(target)))
    elf = folder / "firmware.elf"
    link = ["-nostdlib", "-Wl,-T," + str(folder / "link.ld"), "-Wl,-e,Reset_Handler", "-Wl,--gc-sections", "-lc", "-lgcc"]
    subprocess.run([*common, *objects, *link, "-o", str(elf)], check=True)
    return elf


def relink(folder: Path, gcc: Path) -> Path:
    """Link again what ``boards.foreign.build`` left in ``folder`` for a RISC-V core, with the floating point of ``gcc``'s libgcc
    (riscv64-unknown-elf-gcc) instead of our compiler's own; returns the path of the ELF file."""
    sources = [str(folder / name) for name in ("harness.c", "startup.c")]
    objects = sorted(str(path) for path in folder.glob("[0-9]*-*.o"))
    elf = folder / "libgcc.elf"
    link = ["-nostdlib", "-Wl,-T," + str(folder / "link.ld"), "-Wl,-e,Reset_Handler", "-Wl,--gc-sections"]
    flags = [*RISCV, "-O2", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-w"]
    subprocess.run([str(gcc), *flags, *link, *sources, *objects, "-lgcc", "-o", str(elf)], check=True)
    return elf
