"""Artifacts and their stored results as one plain dict: the body of report.json, and all that the page is made from."""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ... import __version__
from ...errors import BadInput
from ...targets.profile import Target
from ..artifact import Artifact
from .commands import reproduce
from .compare import compare
from .device import shown
from .films import read_film
from .glossary import BACKENDS, FIGURES, meaning, title
from .headline import lead, verdicts
from .policies import describe
from .results import SCHEMAS, read_result
from .setbacks import did_not_help
from .words import judge

REPORT_VERSION = 1
MOMENTARY = ("load", "frequency_mhz", "date")
"""Parts of a fingerprint that differ from minute to minute."""
_TARGET: TypeAdapter[Target] = TypeAdapter(Target)


def collect(
    artifacts: Sequence[Artifact], folder: Path, *, heading: str | None = None, job: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Everything the report says, as JSON-ready data; ``folder`` is where the report will lie.

    Raises BadInput for no artifacts, for a stored result that is not one, and for a job that is not JSON.
    """
    distinct = list({artifact.path.resolve(): artifact for artifact in artifacts}.values())
    if not distinct:
        raise BadInput("report", expected="at least one artifact", found="none", repair="Make one with: pilotfish export")
    policies = describe([artifact.policy for artifact in distinct])
    by_digest = {policy["digest"]: policy for policy in policies}
    entries = [_entry(artifact, by_digest[artifact.policy.digest], folder) for artifact in distinct]
    entries.sort(key=lambda entry: (entry["target"]["name"], entry["backend"], int(entry["policy"][1:])))
    for position, (entry, label) in enumerate(zip(entries, _labels(entries), strict=True), start=1):
        entry |= {"id": f"a{position}", "label": label}
        entry["verdicts"] = judge(entry)
    for entry in entries:
        entry["commands"] = reproduce(entry, entries)
    pairs = compare(entries, policies)
    return {
        "schema_version": REPORT_VERSION,
        "pilotfish_version": __version__,
        "title": heading or _heading(policies),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "lead": lead(entries, policies),
        "verdicts": verdicts(entries),
        "policies": policies,
        "artifacts": entries,
        "comparisons": pairs,
        "did_not_help": did_not_help(pairs),
        "devices": _devices(entries),
        "job": _plain_json(job),
    }


def _heading(policies: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(policy["name"] for policy in policies if policy["role"] in ("after", "alone")))
    if len(names) == 1:
        return names[0]
    originals = [policy["name"] for policy in policies if policy["role"] == "before"]
    return f"{originals[0]} and {len(names)} made from it" if len(originals) == 1 else f"{len(names)} policies"


def _entry(artifact: Artifact, policy: dict[str, Any], folder: Path) -> dict[str, Any]:
    made = artifact.manifest
    results = {name: read_result(artifact, name) for name in SCHEMAS}
    return {
        "name": made.name,
        "policy": policy["id"],
        "role": policy["role"],
        "env": policy["contract"]["provenance"]["env"],
        "target": _TARGET.dump_python(made.target, mode="json"),
        "backend": made.backend,
        "backend_name": BACKENDS.get(made.backend, made.backend),
        "precision": made.precision,
        "native": made.native,
        "machine": made.machine,
        "tools": made.tools,
        "sizes": made.sizes,
        "artifact_digest": artifact.digest,
        "policy_digest": made.policy_digest,
        "path": Path(os.path.relpath(artifact.path.resolve(), folder.resolve())).as_posix(),
        **results,
        "film": read_film(artifact),
        "figures": _figures(results),
    }


def _figures(results: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """All figures of an artifact in reading order, each with the result it belongs to."""
    order = {key: place for place, key in enumerate(FIGURES)}
    found = [
        {"result": name, "key": key, "title": title(key), "meaning": meaning(key)} | figure
        for name in ("evaluate", "verify", "bench", "soak")
        for key, figure in ((results[name] or {}).get("figures") or {}).items()
    ]
    return sorted(found, key=lambda figure: order.get(figure["key"], len(order)))


def _labels(entries: list[dict[str, Any]]) -> list[str]:
    """A distinct label for each artifact, no longer than it has to be."""
    labels = [f"{entry['name']}@{entry['target']['name']}.{entry['backend']}" for entry in entries]
    for extra in ("precision", "path"):
        twice = {label for label, number in Counter(labels).items() if number > 1}
        told = {label: {entry[extra] for own, entry in zip(labels, entries, strict=True) if own == label} for label in twice}
        labels = [
            f"{label} ({entry[extra]})" if len(told.get(label, ())) > 1 else label
            for label, entry in zip(labels, entries, strict=True)
        ]
    return labels


def _devices(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each distinct device once, by the fingerprint of its first result, with what was done on it."""
    devices: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for name in SCHEMAS:
            fingerprint = (entry[name] or {}).get("device")
            if fingerprint:
                lasting = _lasting(fingerprint)
                device = devices.setdefault(json.dumps(lasting, sort_keys=True), {"fingerprint": fingerprint, "used_for": []})
                device["used_for"].append({"result": name, "artifact": entry["id"]})
                device["facts"] = device.get("facts") or shown((entry[name] or {}).get("device_facts") or {})
    return list(devices.values())


def _lasting(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """The fingerprint without the state of the moment, which does not tell two devices apart."""
    return {
        key: _lasting(value) if isinstance(value, dict) else value for key, value in fingerprint.items() if key not in MOMENTARY
    }


def _plain_json(job: dict[str, Any] | None) -> dict[str, Any] | None:
    try:
        return json.loads(json.dumps(job, allow_nan=False)) if job is not None else None
    except (TypeError, ValueError) as error:
        raise BadInput("report: job", expected="settings that JSON can hold", found=str(error)) from error
