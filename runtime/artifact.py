"""The artifact: dist/NAME@TARGET.BACKEND/, a built policy with all it takes to run, check and rebuild it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from .. import __version__, sealed
from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Contract
from ..policy.golden import Golden
from ..targets.profile import Backend, Precision, Target, validated
from ..targets.reach import Link

SCHEMA_VERSION = 1
RESULTS = "results"
"""Sub-folder for what was found out about the artifact later; the only part that is not sealed."""
SOURCE = "source.policy"
"""The bundle that the artifact was built from, so that it can be rebuilt offline."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Manifest:
    """The content of artifact.json."""

    name: str
    """Name of the policy."""
    contract: Contract
    """Copied from the policy."""
    target: Target
    """Snapshot of the profile that it was built for."""
    backend: Backend
    """What runs it."""
    precision: Precision
    """Precision of the weights."""
    policy_digest: str
    """Digest of the policy it was built from."""
    entry: str
    """The file that the back-end loads, relative to the artifact."""
    native: bool
    """True where loading runs machine code in this process."""
    machine: str
    """Machine that native code runs on, such as "x86_64-linux"; "any" where it does not matter."""
    tools: dict[str, str]
    """Versions and flags of what built it."""
    sizes: dict[str, int]
    """Static sizes in bytes: policy-specific names such as flash, ram, weights."""
    files: dict[str, str]
    """sha256 of every file, by relative path."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    pilotfish_version: str = Field(default=__version__)
    """Version of Pilotfish that wrote it."""


MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


class Artifact:
    """An artifact folder whose hashes have been verified."""

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path, self.manifest, self.digest = path, manifest, digest
        self.say: Callable[[str], None] = lambda _: None
        """Told, in a line, what takes time or is tried again on the way to its device."""

    def reached_by(self, link: Link, say: Callable[[str], None] | None = None) -> Artifact:
        """The same artifact, on the device that ``link`` leads to instead of the profile's; nothing is written."""
        target = dataclasses.replace(self.manifest.target, link=link)
        other = type(self)(self.path, dataclasses.replace(self.manifest, target=target), self.digest)
        other.say = say or self.say
        return other

    @property
    def label(self) -> str:
        """NAME@TARGET.BACKEND"""
        return f"{self.manifest.name}@{self.manifest.target.name}.{self.manifest.backend}"

    @property
    def entry(self) -> Path:
        """The file that the back-end loads."""
        return self.path / self.manifest.entry

    def read(self, name: str | None = None) -> bytes:
        """A file of the artifact (default: the entry); BadInput if it is not the one whose hash was sealed any more."""
        path = self.path / (name or self.manifest.entry)
        content = path.read_bytes()
        if sealed.sha256_bytes(content) != self.manifest.files[name or self.manifest.entry]:
            raise BadInput(path, expected="the file that was sealed", found="another one since it was loaded")
        return content

    @cached_property
    def policy(self) -> Policy:
        """The bundle that it was built from."""
        return Policy.load(self.path / SOURCE)

    @property
    def golden(self) -> Golden:
        """The recorded rollout to hold it against."""
        if self.policy.golden is None:
            raise BadInput(self.path, expected="a golden rollout in its source policy", found="none")
        return self.policy.golden

    def result(self, name: str) -> dict[str, Any] | None:
        """A stored result ("verify", "bench", "evaluate") of this very build, or None."""
        path = self.path / RESULTS / f"{name}.json"
        if not path.is_file():
            return None
        data = sealed.read_json(path, f"the result {name}")
        return data if isinstance(data, dict) and data.get("artifact") == self.digest else None

    def store_result(self, name: str, data: dict[str, Any]) -> Path:
        """Keep a result beside the artifact, tied to this build by its digest."""
        path = self.path / RESULTS / f"{name}.json"
        sealed.write_atomic(path, sealed.canonical_json({"artifact": self.digest} | data))
        return path

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Artifact:
        """Read and verify an artifact; runs nothing of it."""
        folder = Path(path)
        sealed.recover_folder(folder)
        if not (folder / "artifact.json").is_file():
            found = "a folder without artifact.json" if folder.is_dir() else ("a file" if folder.exists() else "nothing there")
            raise BadInput(
                folder,
                expected="an artifact (a folder NAME@TARGET.BACKEND)",
                found=found,
                repair="Make one with: pilotfish export",
            )
        data = sealed.read_json(folder / "artifact.json", "the artifact.json of an artifact")
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise BadInput(folder / "artifact.json", expected=f"schema version {SCHEMA_VERSION}", found=repr(version))
        manifest = validated(MANIFEST, data, folder / "artifact.json")
        sealed.verify_manifest(folder, manifest.files)
        if manifest.entry not in manifest.files:
            raise BadInput(folder / "artifact.json", expected="its entry among its files", found=manifest.entry)
        return Artifact(folder, manifest, sealed.sha256_file(folder / "artifact.json"))


@contextmanager
def writing_artifact(path: Path, policy: Policy) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (folder, fields): fill the folder and the manifest's fields; on a good end it is sealed at ``path``.

    name, contract, policy_digest and files are filled in here; earlier results go with the earlier build.
    """
    with sealed.replacing_folder(path) as folder:
        fields: dict[str, Any] = {}
        policy.save(folder / SOURCE)
        yield folder, fields
        manifest = Manifest(
            name=policy.name,
            contract=policy.contract,
            policy_digest=policy.digest,
            files=sealed.manifest(folder, skip=(RESULTS,)),
            **fields,
        )
        (folder / "artifact.json").write_text(
            sealed.canonical_json(MANIFEST.dump_python(manifest, mode="json")), encoding="utf-8"
        )
