"""A zip file read with bounds: members by name, never unpacked to disk, never larger than announced."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import BadInput

MAX_MEMBER_BYTES = 512 << 20
"""A member that unpacks to more is refused before it is read."""
MAX_MEMBERS = 20_000
"""An archive with more members is refused."""


class Archive:
    """The members of a zip file. ``where`` names it in errors; ``data`` holds it in memory, else it is read from ``where``."""

    def __init__(self, where: Path, data: bytes | None = None, label: str = "") -> None:
        self.where = f"{where}: {label}" if label else str(where)
        with self._damage("a zip archive"):
            self._zip = zipfile.ZipFile(where if data is None else io.BytesIO(data))
        self.names = frozenset(self._zip.namelist())
        if len(self.names) > MAX_MEMBERS:
            raise BadInput(self.where, expected=f"at most {MAX_MEMBERS} members", found=f"{len(self.names)}")
        # A truncated outer archive may end in the directory of an inner one, which then starts somewhere behind 0.
        if min((info.header_offset for info in self._zip.infolist()), default=0) != 0:
            raise BadInput(
                self.where,
                expected="a whole zip archive",
                found="a damaged one (it ends inside of a member)",
                repair="Copy or download the file again",
            )

    @contextmanager
    def _damage(self, expected: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise BadInput(self.where, expected=expected, found="no such file") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
            raise BadInput(
                self.where,
                expected=expected,
                found=f"a damaged one ({error})",
                repair="Copy or download the file again",
            ) from error

    def read(self, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """The unpacked bytes of one member; BadInput when it is missing, damaged or larger than ``limit``."""
        if name not in self.names:
            raise BadInput(self.where, expected=f"the member {name!r}", found="none of that name")
        info = self._zip.getinfo(name)
        if info.file_size > limit:
            raise BadInput(self.where, expected=f"{name} of at most {limit} bytes", found=f"{info.file_size}")
        with self._damage(f"an intact member {name!r}"), self._zip.open(info) as stream:
            data = stream.read(info.file_size + 1)
            if len(data) != info.file_size:
                raise EOFError(f"{len(data)} of {info.file_size} bytes")
            return data

    def text(self, name: str, limit: int = 1 << 20) -> str:
        """A member as UTF-8 text; undecodable bytes become replacement characters."""
        return self.read(name, limit).decode("utf-8", errors="replace")

    def json(self, name: str, limit: int = 32 << 20) -> Any:
        """A member as JSON."""
        try:
            return json.loads(self.read(name, limit))
        except (ValueError, RecursionError) as error:
            raise BadInput(self.where, expected=f"{name} as JSON", found=f"{error}") from error

    def prefix(self, member: str) -> str | None:
        """The folder, with its "/", that holds ``member`` (the shallowest one); None where there is none."""
        found = [name.removesuffix(member) for name in self.names if name == member or name.endswith(f"/{member}")]
        return min(found, key=lambda folder: (folder.count("/"), folder), default=None)
