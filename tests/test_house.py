"""The house itself: imports run downwards only, no drawers, no torch where a device has none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    "cli",
    "tables",
    "terminal",
    "doctor",
    "job",
    "compress",
    "train",
    "export",
    "runtime",
    "targets",
    "policy",
    "sealed",
    "figure",
    "errors",
]
"""From the top down: a part imports only from parts that stand below it (and the package's version)."""

ROOMS = ["cli", "compress", "train", "export", "runtime", "targets", "policy", "job"]


def modules() -> list[Path]:
    files = [p for p in ROOT.glob("*.py") if p.stem != "__init__"]
    return files + [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


def part_of(dotted: str) -> str:
    return dotted.split(".")[0]


def imported_parts(path: Path) -> set[str]:
    """Parts of the house that a module imports, relatively or by the package's name."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            assert node.level - 1 <= len(package), f"{path} imports from outside the package"
            target = base + (node.module.split(".") if node.module else [])
            found |= {target[0]} if target else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pilotfish":
            raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} imports pilotfish by name; rooms import relatively")
        elif isinstance(node, ast.Import):
            assert all(a.name.split(".")[0] != "pilotfish" for a in node.names), f"{path} imports pilotfish by name"
    return found - {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_run_downwards(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    for part in imported_parts(path) - {own}:
        assert part in FLOORS, f"{part} is not a part of the house; add it to FLOORS where it belongs"
        assert FLOORS.index(part) > FLOORS.index(own), f"{own} imports {part}, which stands above it"


def test_there_are_no_drawers() -> None:
    drawers = [p for p in modules() if p.stem in ("util", "utils", "helper", "helpers", "common", "misc")]
    assert not drawers


def test_every_package_is_listed_for_the_wheel() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {"pilotfish"} | {
        "pilotfish." + init.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert set(settings["packages"]) == found


def test_every_module_opens_with_a_caption() -> None:
    assert not [p for p in modules() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    "module",
    ["runtime.open", "runtime.verify", "runtime.bench", "runtime.evaluate", "targets.check", "policy", "cli", "export.build"],
)
def test_torch_is_not_imported(module: str) -> None:
    code = f"import sys, pilotfish.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
