"""C written by hand for each of these policies (hand.h): the speed that a generator is held against."""

from __future__ import annotations

from pathlib import Path

from pilotfish.export.c.toolchain import host_compiler

from .contestant import Contestant, NotOffered
from .hand_source import HandSource
from .native import compile_library, from_c
from .subject import Subject

FLAGS = ["-std=gnu11", "-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-Wno-psabi"]
"""What a person who knows that these values are finite asks for."""
SPARSE = 0.2
"""Below this density straight-line code over the weights that are not zero is offered too."""


def versions() -> dict[str, str]:
    return {"compiler": host_compiler().version, "flags": " ".join(FLAGS)}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:
    made = [_built("hand-written C", "the vectors of hand.h", _source(scratch).dense_program(subject), subject, scratch, "dense")]
    if subject.density < SPARSE and not subject.state:
        text = _source(scratch).straight_line_program(subject)
        made.append(
            _built("hand-written C, straight-line", "one product per weight that is not zero", text, subject, scratch, "line")
        )
    return made


def _built(label: str, contains: str, text: str, subject: Subject, scratch: Path, name: str) -> Contestant:
    header = Path(__file__).with_name("hand.h")
    (scratch / header.name).write_text(header.read_text())
    (scratch / f"{name}.c").write_text(text)
    return from_c(label, contains, compile_library(scratch, name, [f"{name}.c"], FLAGS).hand_step, subject, scratch)


def _source(scratch: Path) -> HandSource:
    macros = host_compiler().run([*FLAGS, "-dM", "-E", "-x", "c", "-"], scratch)
    defined = {line.split()[1] for line in macros.splitlines() if line.count(" ")}
    lanes = 16 if "__AVX512F__" in defined else 8 if "__AVX__" in defined else 4
    vnni = "__AVX512VNNI__" in defined or "__AVXVNNI__" in defined
    if vnni and lanes == 16 and "__AVX512VNNI__" not in defined:
        raise NotOffered("AVX-512 with VNNI on 256 bits only: not a processor that hand.h knows")
    group = 4 if vnni else 2 if "__AVX2__" in defined else 1
    return HandSource(lanes, group, 128 if vnni else 0)
