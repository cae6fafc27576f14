"""What a device's Python needs to run Pilotfish, fetched and packed here: the device itself needs no internet, pip or venv."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__, sealed
from ...errors import MissingTool
from .process import plain

BASE = ("numpy", "pydantic", "safetensors")
"""What runtime/, targets/ and policy/ import; the command line's own packages stay here."""
EXTRAS = {"ort": ("onnxruntime",)}
OLDEST = (3, 11)
ROOMS = ("runtime", "targets", "policy")
MODULES = ("__init__.py", "sealed.py", "figure.py", "errors.py", "py.typed")
TIMEOUT_S = 900


@dataclass(frozen=True)
class There:
    """A Python on a device that can run Pilotfish."""

    version: str
    """Such as "3.11.2"."""
    bits: int
    """Of its pointers: a 64-bit kernel may run a 32-bit Python."""
    glibc: tuple[int, int] | None
    """Version of the GNU C library; None: another one, taken for musl."""
    have: dict[str, str | None]
    """Package -> installed version."""

    @staticmethod
    def read(told: str | None, asked: str) -> tuple[There | None, str]:
        """(the Python that the device told of, "") or (None, why there is none)."""
        if not asked:
            return None, "none was asked for"
        try:
            data: Any = json.loads(told or "")
            version = tuple(int(part) for part in data["version"])
            have = {str(name): value if isinstance(value, str) else None for name, value in data["have"].items()}
            glibc = re.fullmatch(r"glibc (\d+)\.(\d+).*", str(data["libc"]))
            if data["implementation"] != "cpython":
                return None, f"{asked} is {plain(str(data['implementation']), 40)}, not CPython"
            if version < OLDEST:
                return None, f"{asked} is {'.'.join(map(str, version))}, older than {'.'.join(map(str, OLDEST))}"
            libc = (int(glibc[1]), int(glibc[2])) if glibc else None
            return There(".".join(map(str, version)), int(data["bits"]), libc, have), ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None, f"no {asked}" + (f" that answers ({plain(told, 120)})" if told else "")

    def has_pilotfish(self, extras: tuple[str, ...]) -> bool:
        """Is this very version of Pilotfish installed there, with all that it needs?"""
        needed = (*BASE, *(name for extra in extras for name in EXTRAS.get(extra, ())))
        return self.have.get("pilotfish") == __version__ and all(self.have.get(name) for name in needed)


def distribution(extras: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the packages to ask a device for."""
    return ("pilotfish", *BASE, *(name for extra in extras for name in EXTRAS.get(extra, ())))


def wheelhouse(there: There, machine: str, extras: tuple[str, ...] = ()) -> tuple[Path, dict[str, str]]:
    """(folder, its files by sha256) of zips that, unpacked one over the other, are all that ``there`` needs.

    Wheels are fetched once per platform by pip and kept in $XDG_CACHE_HOME/pilotfish/wheels; Pilotfish itself is packed from
    where it runs. Raises MissingTool where a wheel cannot be had.
    """
    wheels, tags, minor = requirements(extras), platforms(there, machine), ".".join(there.version.split(".")[:2])
    key = sealed.sha256_bytes(json.dumps([sorted(wheels), tags, minor]).encode())[:24]
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path("~/.cache").expanduser()) / "pilotfish" / "wheels" / key
    if not folder.is_dir():
        with sealed.replacing_folder(folder) as fresh:
            _download(wheels, tags, minor, fresh)
            for path in fresh.iterdir():
                if path.suffix != ".whl":
                    raise MissingTool(f"{path.name} is no wheel: it cannot be built for {machine} here")
        _forget_old(folder.parent)
    own = own_zip()
    packed = folder / f"pilotfish-{sealed.sha256_bytes(own)[:16]}.zip"
    if not packed.is_file():
        for old in folder.glob("pilotfish-*.zip"):
            old.unlink(missing_ok=True)
        sealed.write_atomic(packed, own)
    files = {path.name: sealed.sha256_file(path) for path in folder.glob("*.whl")}
    return folder, files | {packed.name: sealed.sha256_bytes(own)}


def requirements(extras: tuple[str, ...]) -> list[str]:
    """The requirements of BASE and ``extras`` with the version ranges that Pilotfish itself declares."""
    wanted = distribution(extras)[1:]
    declared: dict[str, str] = {}
    try:
        for line in importlib.metadata.requires("pilotfish") or ():
            text = line.partition(";")[0].strip()
            name = re.match(r"[A-Za-z0-9._-]+", text)
            if name and "[" not in text:
                declared.setdefault(name[0], text)
    except importlib.metadata.PackageNotFoundError:
        pass
    return [declared.get(name, name) for name in wanted]


def platforms(there: There, machine: str) -> list[str]:
    """pip's names of the platforms whose wheels run there, best first."""
    isa = "armv7l" if machine.startswith("armv8l") else machine.partition("-")[0]
    if there.glibc is None:
        return [f"musllinux_1_{minor}_{isa}" for minor in (2, 1)]
    major, minor = there.glibc
    newest = [f"manylinux_{major}_{at}_{isa}" for at in range(minor, 16, -1)]
    return [*newest, f"manylinux2014_{isa}", f"linux_{isa}"]


def _download(wheels: list[str], tags: list[str], minor: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", minor, "--dest", str(folder)]
    command += [word for tag in tags for word in ("--platform", tag)]
    try:
        done = subprocess.run([*command, *wheels], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingTool(f"pip cannot fetch {', '.join(wheels)}: {error}") from error
    if done.returncode:
        raise MissingTool(
            f"pip found no wheels of {', '.join(wheels)} for Python {minor} on {tags[0]} ({plain(done.stderr, 300)}). "
            "Install Pilotfish on the device instead, and name its Python in the link (python=…)"
        )


def own_zip() -> bytes:
    """Pilotfish as far as a device needs it: equal sources give equal bytes."""
    import io

    root = Path(__file__).resolve().parents[2]
    files = [root / name for name in MODULES] + [
        path
        for room in ROOMS
        for path in sorted((root / room).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    ]
    buffer = io.BytesIO()
    info = f"pilotfish-{__version__}.dist-info/METADATA"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.is_file():
                name = "pilotfish/" + path.relative_to(root).as_posix()
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
        metadata = f"Metadata-Version: 2.1\nName: pilotfish\nVersion: {__version__}\n"
        archive.writestr(zipfile.ZipInfo(info), metadata, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _forget_old(folder: Path, keep: int = 6) -> None:
    """Wheels weigh megabytes: only the sets made last stay."""
    made = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in made[keep:]:
        shutil.rmtree(path, ignore_errors=True)
