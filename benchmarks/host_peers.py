"""The processes of the peers: started, pinned to one CPU, asked one thing at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENVS = HERE / ".venvs"
"""Where ``make bench-peers`` puts the virtual environments of peers."""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "TVM")}


class PeerFailed(Exception):
    """The peer answered with an error, or its process ended."""


@dataclass
class Running:
    """One peer's process."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    versions: dict[str, str] = field(default_factory=dict)
    """What it runs on, as it says."""
    missing: str = ""
    """What it lacks; then it takes no part."""

    def ask(self, verb: str, **values: Any) -> dict[str, Any]:
        """One request, one answer; raises PeerFailed."""
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"do": verb, **values}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerFailed(self._last_words()) from error
        answer = self.receive()
        if "error" in answer:
            raise PeerFailed(answer["error"])
        return answer

    def receive(self) -> dict[str, Any]:
        """The next answer of the process."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End of stdin ends it; whoever does not listen is ended."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        code = self.process.wait()
        said = self.log.read_text(errors="replace").strip().splitlines()
        return f"its process ended with {code}: {said[-1][:300] if said else 'without a word'}"


def python_of(name: str, environment: str, given: dict[str, Path], venvs: Path) -> Path:
    """The Python that runs a peer: given by hand, else its virtual environment's, else this one."""
    if name in given or environment in given:
        return given.get(name, given.get(environment, Path(sys.executable)))
    own = venvs / environment / "bin" / "python"
    return own if environment != "main" and own.exists() else Path(sys.executable)


def start(name: str, python: Path, scratch: Path, cpu: int | None, options: dict[str, str]) -> Running:
    """Start a peer pinned to ``cpu`` (None: not pinned); ``options`` reach it as environment variables."""
    place = scratch / name
    place.mkdir()
    log = place / "log.txt"
    environment = {**os.environ, **ONE_THREAD, **options, "PILOTFISH_HOME": str(scratch / "home")}

    def pin() -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(python), "-m", "peers.worker", name, str(place)],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            preexec_fn=pin,  # safe here: this script has one thread
        )
    running = Running(name, process, log)
    try:
        hello = running.receive()
    except PeerFailed as error:
        hello = {"missing": str(error)}
    running.versions, running.missing = hello.get("versions", {}), hello.get("missing", "")
    return running


def cpus() -> tuple[int | None, int | None]:
    """(driver's CPU, peers' CPU): the first and the last that may be used; None where nobody can pin."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]
