"""Compilers: the system's for this machine, Zig's clang for microcontrollers (and where the system has none)."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...errors import BadInput, MissingTool, PilotfishError
from ...targets.profile import Target

TIMEOUT_S = 600
"""A compiler that runs for longer is stopped. Zig's first call for a target builds its runtime (about 8 s)."""
BASE_FLAGS = ("-std=c99", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
"""For every build. A fused multiply-add rounds once instead of twice: nearer to the truth, and half the work. The
other two change no value: nobody reads errno or floating-point exceptions. -ffast-math is never used; it would
undo rounding that is written out on purpose."""
_FLAG = re.compile(
    r"-(O[0-3sz]|g[0-3]?"
    r"|m(arch|cpu|tune|fpu|float-abi|abi|prefer-vector-width)=[A-Za-z0-9_.+\-]+"
    r"|m(no-)?(avx[a-z0-9]*|sse[0-9.]*|ssse3|fma|f16c|bmi2?|thumb|popcnt|unaligned-access)"
    r"|f(no-)?(unroll-loops|inline-functions|inline|omit-frame-pointer|tree-vectorize|vectorize|slp-vectorize|tree-slp-vectorize"
    r"|function-sections|data-sections|stack-protector|strict-aliasing|math-errno|trapping-math)"
    r"|ffp-contract=(on|off|fast))"
)
"""What a profile may ask for. A profile may come from a stranger: flags that load plugins, name files or
run programs are refused."""
_WORD = re.compile(r"[A-Za-z0-9_.+\-]*")


class CompileError(PilotfishError):
    """A compiler refused the generated program, or did not end."""

    exit_code = 3


@dataclass(frozen=True)
class Compiler:
    """A C compiler that answers."""

    command: tuple[str, ...]
    """How it is called."""
    version: str
    """First line of its --version."""
    zig: bool = False
    """True: Zig's clang, which knows every target."""

    def run(self, arguments: list[str], folder: Path, source: str | None = None) -> str:
        """Call it in ``folder``; returns stdout. Raises CompileError with the end of what it said."""
        environment = os.environ | (_zig_caches() if self.zig else {})
        call = [*self.command, *arguments]
        try:
            done = subprocess.run(
                call,
                cwd=folder,
                env=environment,
                input=source or "",
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CompileError(f"{self.version} did not end within {TIMEOUT_S} s: {shlex.join(call)}") from error
        except OSError as error:
            raise MissingTool(f"the C compiler {self.command[0]!r} cannot be run: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-12:]
            raise CompileError(f"{self.version} failed with exit code {done.returncode}: {shlex.join(call)}\n" + "\n".join(said))
        return done.stdout


def host_compiler() -> Compiler:
    """$CC, else cc, gcc or clang on the PATH, else Zig's clang."""
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        words = shlex.split(chosen)
        if shutil.which(words[0]) is None:
            raise MissingTool(f"CC names {words[0]!r}, which is not on the PATH; unset CC or install it")
        return _answering(tuple(words), zig="zig" in Path(words[0]).name)
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return _answering((path,), zig=False)
    if importlib.util.find_spec("ziglang") is None:
        raise MissingTool('no C compiler (cc, gcc or clang) on the PATH; install one, or run: pip install "pilotfish[export]"')
    return zig_compiler()


def zig_compiler() -> Compiler:
    """Zig's clang, which compiles for every target."""
    if importlib.util.find_spec("ziglang") is None:
        raise MissingTool('ziglang is not installed; run: pip install "pilotfish[export]"')
    return _answering((sys.executable, "-m", "ziglang", "cc"), zig=True)


def checked_flags(target: Target) -> list[str]:
    """The optimization flags of a profile, if they are nothing but that."""
    for word in (target.compile.triple, target.compile.mcpu):
        if not _WORD.fullmatch(word):
            raise BadInput(f"target {target.name}, compile", expected="a plain triple and mcpu", found=repr(word[:60]))
    for flag in target.compile.flags:
        if not _FLAG.fullmatch(flag):
            raise BadInput(
                f"target {target.name}, compile.flags",
                expected="optimization flags such as -O3, -march=native or -mcpu=cortex-a72",
                found=repr(flag[:60]),
                repair="Flags that change results (-ffast-math), load plugins or name files are not taken",
            )
    return list(target.compile.flags)


@lru_cache
def _answering(command: tuple[str, ...], zig: bool) -> Compiler:
    lines = Compiler(command, command[0], zig).run(["--version"], Path.cwd()).strip().splitlines()
    version = lines[0].strip() if lines else command[0]
    if zig:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            version = f"zig {installed('ziglang')} ({version.partition(' (')[0]})"
        except PackageNotFoundError:
            version = f"zig ({version.partition(' (')[0]})"
    return Compiler(command, version, zig)


def _zig_caches() -> dict[str, str]:
    """Nothing where Zig's own choice of cache works, else a private folder for temporary files."""
    if os.environ.get("ZIG_GLOBAL_CACHE_DIR"):
        return {}
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and str(Path(os.environ["HOME"]) / ".cache"))
    if base and _writable(Path(base) / "zig"):
        return {}
    folder = str(_private_folder())
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@lru_cache
def _private_folder() -> Path:
    """A cache below the folder for temporary files that nobody else can have filled."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"pilotfish-zig-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        if stat.S_ISDIR(info.st_mode) and info.st_uid == user and not info.st_mode & 0o077:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="pilotfish-zig-"))
