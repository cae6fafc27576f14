"""A link over any POSIX shell: this machine's, or one at the other end of an SSH connection."""

from __future__ import annotations

import dataclasses
import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ... import sealed
from ...errors import BadInput, MissingTool, Unreachable
from . import scripts
from .link import Channel, Device, DeviceFull, Dropped, Ended, Installed, Progress, checked_files
from .process import LineReader, Process, Shell, plain
from .scripts import Order
from .steps import request, result_of
from .wheelhouse import BASE, There, distribution, wheelhouse

RUNNER = "runner"
"""Name of the native runner in an artifact."""
PAUSES_S = (0.2, 1.0, 3.0)
"""Before the second, third and fourth try of a step whose connection was lost."""
SCRIPT_S = 600.0
"""A script that copies, checks or unpacks may take this long; a slow SD card writes 100 MB in a minute."""
CHUNK = 1 << 18
_FULL = re.compile(r"no space left|disk quota exceeded|file too large|write error|enospc", re.IGNORECASE)
T = TypeVar("T")


class ShellLink:
    """See :class:`pilotfish.targets.links.link.Link`. ``python``: which to use there, empty for none; ``extras``: what the
    artifact's back-end needs beside Pilotfish's base, such as "ort"; ``say`` is told of tries that are repeated."""

    def __init__(
        self, shell: Shell, python: str = "python3", extras: tuple[str, ...] = (), say: Callable[[str], None] | None = None
    ) -> None:
        self.shell, self.name, self.extras = shell, shell.name, extras
        self._python, self._say = python, say or (lambda _: None)

    # What is there.

    def device(self) -> Device:
        return self._device[0]

    @cached_property
    def _device(self) -> tuple[Device, There | None]:
        told = self._again(lambda: self._script(scripts.facts(self._python, distribution(self.extras))))
        pairs = (line.partition("=") for line in told.decode("utf-8", "replace").splitlines())
        said = {key: plain(value, 4000) or None for key, _, value in pairs}
        python, why = There.read(said.get("python"), self._python)
        isa = {"amd64": "x86_64", "arm64": "aarch64"}.get((said.get("isa") or "").lower(), (said.get("isa") or "unknown").lower())
        if isa == "aarch64" and python and python.bits == 32:
            isa = "armv8l"
        machine = f"{isa}-{(said.get('system') or 'unknown').lower()}"
        name = " ".join((said.get("board") or said.get("cpu") or machine).split())
        fingerprint = {
            "machine": machine,
            "device": name,
            "cpu": said.get("cpu"),
            "cores": _number(said.get("cores")),
            "governor": said.get("governor"),
            "frequency_mhz": _number(said.get("khz"), 1000),
            "frequency_max_mhz": _number(said.get("max_khz"), 1000),
            "load": _number(said.get("load")),
            "realtime_kernel": said.get("realtime") == "1",
            "kernel": said.get("kernel"),
            "system": said.get("system"),
            "python": python.version if python else None,
            "link": self.name,
        }
        free = _number(said.get("free"))
        found = Device(
            name, machine, python.version if python else None, why, None if free is None else int(free * 1024), fingerprint
        )
        return found, python

    # Carrying.

    def install(self, folder: Path, files: Mapping[str, str]) -> Installed:
        listed = checked_files(files)
        return self._again(lambda: self._install(Path(folder), listed))

    def _install(self, folder: Path, files: Mapping[str, str]) -> Installed:
        rows = "".join(f"{digest} {'x' if name == RUNNER else '-'} {name}\n" for name, digest in sorted(files.items()))
        digest, sent = sealed.sha256_bytes(rows.encode()), 0
        by_digest = {value: folder / name for name, value in files.items()}
        for _ in range(3):
            wanted = self._script(scripts.missing(), "".join(f"{value}\n" for value in by_digest).encode()).decode().split()
            unknown = set(wanted) - set(by_digest)
            if unknown:
                raise Unreachable(f"{self.name}: asked for what it was not offered: {plain(' '.join(unknown), 80)}")
            if wanted:
                sent += sum(by_digest[value].stat().st_size for value in wanted)
                self._script(scripts.put(), _tar(by_digest[value] for value in wanted))
            try:
                where = self._script(scripts.assemble(digest), rows.encode()).decode().strip()
                return Installed(where, digest, frozenset(files), sent)
            except _Code as code:
                if code.status not in (scripts.DAMAGED, scripts.ABSENT):
                    raise
        raise Unreachable(f"{self.name}: {folder.name} arrived damaged three times; is the device's disk failing?")

    # Running.

    def run(
        self, installed: Installed, verb: str, options: Mapping[str, Any], progress: Progress | None = None
    ) -> dict[str, Any]:
        return self._again(lambda: self._run(installed, verb, options, progress))

    def _run(self, installed: Installed, verb: str, options: Mapping[str, Any], progress: Progress | None) -> dict[str, Any]:
        process = self._start(self._module("runtime.there", installed))
        try:
            process.write(request(verb, options))
            return result_of(LineReader(process, sealed.MAX_JSON_BYTES), progress, self._say)
        finally:
            process.close()

    def channel(self, installed: Installed, arguments: tuple[str, ...] = ()) -> Channel:
        if self._device[1] is not None:
            try:
                return self._again(lambda: self._start(self._module("runtime.serve", installed, installed.where, "--trust")))
            except MissingTool:
                if RUNNER not in installed.files:
                    raise
        if RUNNER not in installed.files:
            raise MissingTool(
                f"{self.name} has no Python for Pilotfish ({self.device().why}), and the artifact no native runner. "
                "Install Python 3.11 or newer there, or export with the c back-end for a target whose link is ssh or agent"
            )
        return self._again(lambda: self._start(scripts.program(installed.where, RUNNER, arguments)))

    def _module(self, name: str, installed: Installed, *arguments: str) -> Order:
        site = self._site()
        return scripts.module(name, arguments, self._python, site, installed.where)

    def _site(self) -> str:
        """Where Pilotfish lies on the device for its Python, brought there if need be; "": it is installed there."""
        there = self._device[1]
        if there is None:
            raise MissingTool(f"{self.name} has no Python for Pilotfish: {self.device().why}")
        if there.has_pilotfish(self.extras):
            return ""
        try:
            return self._again(lambda: self._bring(there))
        except MissingTool as error:
            # From now on it is a device without Python: the native runner may do.
            self._device = dataclasses.replace(self.device(), python=None, why=str(error)), None
            self._say(str(error))
            raise

    def _bring(self, there: There) -> str:
        folder, files = wheelhouse(there, self.device().machine, self.extras)
        digest = sealed.sha256_bytes(json.dumps([files, there.version]).encode())
        try:
            return self._script(scripts.unpack(digest, "", self._python)).decode().strip()
        except _Code as code:
            if code.status != scripts.ABSENT:
                raise
        self._say(f"bringing Pilotfish and {', '.join(BASE)} to {self.name}")
        installed = self._install(folder, files)
        return self._script(scripts.unpack(digest, installed.where, self._python)).decode().strip()

    def close(self) -> None:
        self.shell.close()

    # Scripts.

    def _again(self, step: Callable[[], T]) -> T:
        """The step's result; a step whose connection was lost is begun again on a new one."""
        for pause in (*PAUSES_S, None):
            try:
                return step()
            except Dropped as error:
                self.shell.close()
                if pause is None:
                    raise Unreachable(f"{error}; tried {len(PAUSES_S) + 1} times. Nothing of this step was kept") from error
                self._say(f"{error}; trying again")
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _start(self, script: Order) -> Process:
        return self.shell.start(script)

    def _script(self, script: Order, data: bytes | Iterator[bytes] = b"") -> bytes:
        """Run ``script`` on ``data``; what it printed. Raises _Code for an exit code other than 0."""
        process = self._start(script)
        try:
            try:
                for piece in (data,) if isinstance(data, bytes) else data:
                    process.write(piece)
            except Ended:
                pass  # it says why by its exit code
            process.finish()
            out, stop = bytearray(), time.monotonic() + SCRIPT_S
            try:
                while len(out) <= sealed.MAX_JSON_BYTES:
                    out += process.read(CHUNK, 1.0)
                    if time.monotonic() > stop:
                        raise Unreachable(f"{self.name}: no end within {SCRIPT_S:g} s")
            except Ended:
                status = process.wait()
                if status == 0:
                    return bytes(out)
                raise self._failure(status, process.said) from None
            raise Unreachable(f"{self.name}: endless output")
        finally:
            process.close()

    def _failure(self, status: int, said: str) -> Exception:
        if _FULL.search(said) or status in (-25, 153):  # SIGXFSZ: a limit on the size of files
            return DeviceFull(
                f"{self.name} has no room ({said or 'file too large'}); nothing half written was left. Free some space there, "
                "or name another folder: PILOTFISH_DEVICE_CACHE in that account's environment"
            )
        if status == scripts.NO_CACHE:
            return Unreachable(f"{self.name}: no cache folder can be made there ({said})")
        if status == scripts.NO_SUM:
            return MissingTool(f"{self.name}: {said}; install coreutils or busybox on the device")
        return _Code(status, f"{self.name}: exit code {status}" + (f": {said}" if said else ""))


class _Code(Unreachable):
    """A script ended with a code that says something."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _tar(paths: Iterator[Path]) -> Iterator[bytes]:
    """A tar of the files, each by the sha256 of its content, in pieces."""
    for path in paths:
        info = tarfile.TarInfo(sealed.sha256_file(path))
        info.size, info.mode = path.stat().st_size, 0o600
        yield info.tobuf(tarfile.USTAR_FORMAT)
        with path.open("rb") as stream:
            left = info.size
            while left and (piece := stream.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
        if left:
            raise BadInput(path, expected="a file that does not change while it is read", found="a shorter one")
        yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * tarfile.RECORDSIZE


def _number(text: str | None, divisor: float = 1) -> float | None:
    try:
        return None if text is None else float(text) / divisor
    except ValueError:
        return None
