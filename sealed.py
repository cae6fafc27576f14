"""Sealed folders: written whole or not at all, every file hashed, checked on the way back in.

Policy bundles and artifacts are both sealed folders. A writer fills a temporary sibling which then
takes the final name, so an interrupt, a full disk or a crash leaves the earlier result as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import BadInput

MAX_JSON_BYTES = 32 << 20
"""A manifest larger than this is refused before it is read."""


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and fixed separators: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, what: str) -> Any:
    """Parse ``path`` as JSON; ``what`` names the thing for the error ("policy.json of a bundle")."""
    if not path.is_file():
        raise BadInput(path, expected=what, found="no such file")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BadInput(path, expected=f"{what} of at most {MAX_JSON_BYTES >> 20} MiB", found=f"{path.stat().st_size} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadInput(path, expected=f"{what} (JSON)", found=f"unreadable text: {error}") from error


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write one file whole: to a temporary sibling, then renamed onto ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends well it takes the name ``path``, else it vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    if path.exists() and not path.is_dir():
        raise BadInput(path, expected="a folder, or nothing, to write to", found="a file", repair="Choose another output")
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new-"))
    os.chmod(fresh, 0o755)
    try:
        yield fresh
        aside = path.with_name(f".{path.name}.old")
        if path.exists():
            os.rename(path, aside)
        os.rename(fresh, path)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        recover_folder(path)
        raise


def recover_folder(path: Path) -> None:
    """Undo a replacement that died between its two renames: the earlier result comes back."""
    aside = path.with_name(f".{path.name}.old")
    if aside.exists():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, path)


def manifest(folder: Path, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """sha256 of every file below ``folder``, by POSIX-style relative path; ``skip`` names top entries."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skip
    }


def verify_manifest(folder: Path, files: dict[str, str]) -> None:
    """Refuse ``folder`` unless every listed file is there, inside it, and has its recorded sha256."""
    root = folder.resolve()
    for name, digest in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(root):
            raise BadInput(folder, expected="files inside the folder", found=f"the path {name!r} that leads out of it")
        if not path.is_file():
            raise BadInput(folder, expected=f"the file {name}", found="none", repair="Build or copy the folder again")
        actual = sha256_file(path)
        if actual != digest:
            raise BadInput(
                path,
                expected=f"sha256 {digest[:12]}…",
                found=f"{actual[:12]}…",
                repair="The file changed since it was sealed: build or copy the folder again",
            )
