"""What is run on a device, in POSIX sh: nothing else has to be there but the usual small tools (busybox has them all)."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CACHE = "${PILOTFISH_DEVICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pilotfish}"
"""On the device: a folder of the user's own. blobs/ has every file once, by its sha256; folders/ has what was installed, by the
sha256 of its list of files; sites/ has Python packages, unpacked."""

KEPT_FOLDERS = 16
"""Installed folders that stay; the ones used last."""

_OPEN = f'C="{CACHE}"; umask 077; mkdir -p "$C/blobs" "$C/folders" "$C/sites" || exit 70; cd "$C" || exit 70; '
_SUM = (
    'if command -v sha256sum >/dev/null 2>&1; then sum() { sha256sum "$@"; }; '
    'elif command -v shasum >/dev/null 2>&1; then sum() { shasum -a 256 "$@"; }; '
    'else echo "no sha256sum there" >&2; exit 71; fi; '
)

NO_CACHE, NO_SUM, DAMAGED, ABSENT = 70, 71, 72, 73
"""Exit codes with a meaning."""

PYTHON_FACTS = (
    "import json,os,sys\n"
    "def libc():\n"
    "    try: return os.confstr('CS_GNU_LIBC_VERSION')\n"
    "    except Exception: return None\n"
    "def has(name):\n"
    "    try:\n"
    "        from importlib.metadata import version\n"
    "        return version(name)\n"
    "    except Exception: return None\n"
    "print(json.dumps({'version': list(sys.version_info[:3]), 'implementation': sys.implementation.name, 'libc': libc(),\n"
    "  'bits': 64 if sys.maxsize > 2**32 else 32, 'have': {name: has(name) for name in sys.argv[1:]}}))\n"
)


TEXTS: dict[str, Callable[..., str]] = {}
"""Name of an order -> what makes its script."""


@dataclass(frozen=True)
class Order:
    """One of the few things that a link asks of a device. An agent takes orders, never scripts."""

    name: str
    """Key of TEXTS."""
    words: tuple[Any, ...]
    """Strings, and tuples of strings."""

    @property
    def text(self) -> str:
        """The script."""
        return TEXTS[self.name](*self.words)


def order(text: Callable[..., str]) -> Callable[..., Order]:
    """Makes what writes a script into what makes an order."""
    TEXTS[text.__name__] = text

    @functools.wraps(text)
    def make(*words: Any) -> Order:
        return Order(text.__name__, words)

    return make


@order
def facts(python: str, packages: tuple[str, ...]) -> str:
    """Prints KEY=VALUE lines about the device; ``python`` may be empty."""
    first = "head -n 1"
    script = (
        f"{_OPEN}"
        'echo "system=$(uname -s)"; echo "isa=$(uname -m)"; echo "kernel=$(uname -r)"; echo "cache=$C"; '
        "echo \"free=$(df -Pk . 2>/dev/null | awk 'NR==2{print $4}')\"; "
        "echo \"board=$(cat /proc/device-tree/model 2>/dev/null | tr -d '\\000')\"; "
        f'echo "cpu=$(grep -m 1 -e "^model name" -e "^Model" /proc/cpuinfo 2>/dev/null | {first} | cut -d: -f2-)"; '
        'echo "cores=$(grep -c "^processor" /proc/cpuinfo 2>/dev/null)"; '
        f'echo "governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null | {first})"; '
        f'echo "khz=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq 2>/dev/null | {first})"; '
        f'echo "max_khz=$(cat /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq 2>/dev/null | {first})"; '
        "echo \"load=$(cut -d' ' -f1 /proc/loadavg 2>/dev/null)\"; "
        'echo "realtime=$(cat /sys/kernel/realtime 2>/dev/null)"; '
    )
    if python:
        program = f"{quoted(python)} -c {shlex.quote(PYTHON_FACTS)} {shlex.join(packages)}"
        script += f'echo "python=$({program} 2>&1 | head -c 4000 | tr "\\n" " ")"; '
    return script + "true"


@order
def missing() -> str:
    """Reads sha256s, prints those that are not there yet."""
    return f'{_OPEN}while IFS= read -r d; do [ -f "blobs/$d" ] || echo "$d"; done'


@order
def put() -> str:
    """Reads a tar of files named by their sha256; they are kept if every one is what its name says, else none is."""
    return (
        f'{_OPEN}{_SUM}W="incoming.$$"; trap \'rm -rf "$C/$W"\' EXIT; trap "exit 75" HUP INT TERM PIPE; '
        'find . -maxdepth 1 -name "incoming.*" -mmin +60 -exec rm -rf {} + 2>/dev/null; '
        'mkdir "$W" && cd "$W" && tar -xf - || exit $?; '
        f'for f in *; do s=$(sum "$f") || exit {DAMAGED}; '
        f'[ "${{s%% *}}" = "$f" ] || {{ echo "$f arrived as ${{s%% *}}" >&2; exit {DAMAGED}; }}; done; '
        "sync 2>/dev/null; chmod 444 * && touch * && mv -f * ../blobs/"
    )


@order
def assemble(digest: str) -> str:
    """Reads lines "SHA256 MODE PATH", makes folders/DIGEST of blobs, whole or not at all, and prints its path.

    A folder that is there already is verified again; one that does not verify is made anew from blobs, and a blob that is
    not what its name says is dropped, with exit code DAMAGED: the caller sends it again.
    """
    place = shlex.quote(f"folders/{digest}")
    return (
        f'{_OPEN}{_SUM}D={place}; W="$D.new.$$"; trap \'rm -rf "$C/$W" "$C/$W.list"\' EXIT; trap "exit 75" HUP INT TERM PIPE; '
        'cat > "$W.list" || exit $?; '
        "whole() { cut -d' ' -f1,3- \"$C/$W.list\" | sed 's/ /  /' | "
        '(cd "$1" 2>/dev/null && sum -c - >/dev/null 2>&1); }; '
        'if whole "$D"; then touch "$D"; else rm -rf "$D"; mkdir "$W" || exit $?; '
        'while IFS= read -r line; do s="${line%% *}"; rest="${line#* }"; m="${rest%% *}"; p="${rest#* }"; '
        'case "$p" in */*) mkdir -p "$W/${p%/*}" || exit $?;; esac; '
        f'[ -f "blobs/$s" ] || exit {ABSENT}; '
        'if [ "$m" = x ]; then chmod 555 "blobs/$s" || exit $?; fi; '
        'ln "blobs/$s" "$W/$p" 2>/dev/null || cp -p "blobs/$s" "$W/$p" || exit $?; '
        'done < "$W.list"; '
        f'if ! whole "$W"; then for f in $(cut -d" " -f1 "$W.list"); do s=$(sum "blobs/$f"); '
        f'[ "${{s%% *}}" = "$f" ] || rm -f "blobs/$f"; done; exit {DAMAGED}; fi; '
        'mv "$W" "$D" || exit $?; fi; '
        f'ls -td folders/*/ 2>/dev/null | tail -n +{KEPT_FOLDERS + 1} | while IFS= read -r old; do rm -rf "$old"; done; '
        'find blobs -type f -links 1 -mmin +60 -exec rm -f {} + 2>/dev/null; echo "$C/$D"'
    )


@order
def unpack(digest: str, folder: str, python: str) -> str:
    """Unpacks every zip of an installed folder into sites/DIGEST, whole or not at all, and prints its path; without
    ``folder``: only if it is there, else exit code ABSENT."""
    place = shlex.quote(f"sites/{digest}")
    there = f'{_OPEN}D={place}; if [ -d "$D" ]; then echo "$C/$D"; exit 0; fi; '
    if not folder:
        return there + f"exit {ABSENT}"
    return (
        f'{there}W="$D.new.$$"; trap \'rm -rf "$C/$W"\' EXIT; trap "exit 75" HUP INT TERM PIPE; mkdir "$W" || exit $?; '
        f'for z in {shlex.quote(folder)}/*; do {quoted(python)} -m zipfile -e "$z" "$W" || exit $?; done; '
        f'mv "$W" "$D" && rm -rf {shlex.quote(folder)} && echo "$C/$D"; '
        'ls -td sites/*/ 2>/dev/null | tail -n +4 | while IFS= read -r old; do rm -rf "$old"; done'
    )


@order
def module(name: str, arguments: tuple[str, ...], python: str, site: str, folder: str) -> str:
    """Runs a module of Pilotfish there, its input and output those of the shell."""
    path = f"PYTHONPATH={shlex.quote(site)} " if site else ""
    return f"cd {shlex.quote(folder)} && {path}exec {quoted(python)} -m pilotfish.{name} {shlex.join(arguments)}"


@order
def program(folder: str, name: str, arguments: tuple[str, ...] = ()) -> str:
    """Runs an executable of an installed folder there."""
    return f"cd {shlex.quote(folder)} && exec ./{shlex.quote(name)} {shlex.join(arguments)}"


def quoted(python: str) -> str:
    """A word for the shell; a leading ~/ stays one, for the device's own home."""
    return "~/" + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)
