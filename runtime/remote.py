"""An artifact on the device that its link reaches: carried there once, steps run there, or its policy flown from here.

Where the device has a Python, a step (verify, bench) runs there as it would here, and its result comes back with the device's
own fingerprint. Where it has none, or where the simulator is here (evaluate), the policy runs there behind the wire protocol.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput, MissingTool, Unreachable, Untrusted
from ..policy.contract import Contract
from ..targets.links.link import Device, Installed, Link
from ..targets.links.open import open_link
from ..targets.links.serial import ATTEMPTS, FIRMWARE, BoardOnSerial
from ..targets.links.shell_link import RUNNER
from ..targets.reach import link_name
from ..targets.wire.client import Client
from .artifact import Artifact
from .place import Progress, is_remote
from .trust import require_trust
from .wire_session import WireSession

EXTRAS = {"onnxruntime": ("ort",)}
"""Back-end -> extras that a Python there must have."""
NATIVE = ("c", "tvm")
START_S = 20.0
"""A Python on a slow board takes seconds to start."""
KEPT_DECISIONS = 1_000_000


@dataclass(frozen=True)
class Reached:
    """A connection, and what lies at its end."""

    link: Link
    installed: Installed


_reached: dict[tuple[str, str], Reached] = {}


def reach(artifact: Artifact) -> Reached:
    """Connect, and carry the artifact there; both are kept for this process, so that verify, bench and evaluate share them."""
    settings = artifact.manifest.target.link
    key = (repr(settings), artifact.digest)
    if key not in _reached:
        link = open_link(settings, EXTRAS.get(artifact.manifest.backend, ()), artifact.say)
        try:
            _fits(artifact, link)
            files = artifact.manifest.files | {"artifact.json": artifact.digest}
            _reached[key] = Reached(link, link.install(artifact.path, files))
            device = link.device()
            artifact.say(f"{link.name} is {device.name}; {_runs_by(device, files)}")
        except BaseException:
            link.close()
            raise
    return _reached[key]


def _runs_by(device: Device, files: Mapping[str, str]) -> str:
    """What computes there, in words."""
    if device.machine == FIRMWARE:
        return "its firmware is the policy"
    if device.python:
        return f"Python {device.python}"
    return "the native runner" if RUNNER in files else "no Python, and no native runner"


def _fits(artifact: Artifact, link: Link) -> None:
    """BadInput where the device is another machine than the artifact was built for: nothing is carried there."""
    wanted, found = artifact.manifest.machine, link.device().machine
    # A 64-bit kernel runs 32-bit programs of its family, where a 64-bit Python would not load a 32-bit library.
    runs = {wanted, *(("armv8l-linux", "aarch64-linux") if wanted == "armv7l-linux" else ())}
    if wanted != "any" and found not in runs:
        raise BadInput(
            f"{link.name} ({link.device().name})",
            expected=f"a machine of kind {wanted}, for which {artifact.path.name} was built",
            found=found,
            repair="Export for a target whose compile.triple names it, such as aarch64-linux-gnu.2.28",
        )


@atexit.register
def hang_up() -> None:
    """Close every connection; nothing keeps running on a device."""
    while _reached:
        _reached.popitem()[1].link.close()


def fingerprint(artifact: Artifact) -> dict[str, Any]:
    """The device's, as its link tells it."""
    return dict(reach(artifact).link.device().facts)


def run_there(
    artifact: Artifact, verb: str, options: Mapping[str, Any], *, trust: bool, progress: Progress | None = None
) -> dict[str, Any] | None:
    """Run ``verb`` on the device and store its result beside the artifact here; None where that is not how it is done:
    the link is local, or the device has no Python.

    Raises Untrusted as a run here would: the user vouches for the code, wherever it runs.
    """
    if not is_remote(artifact):
        return None
    vouch(artifact, trust)
    there = reach(artifact)
    if there.link.device().python is None:
        return None
    asked = {name: value for name, value in options.items() if value is not None}
    try:
        result = there.link.run(there.installed, verb, asked | {"trust": True}, progress)
    except MissingTool:
        if RUNNER in there.installed.files and there.link.device().python is None:
            return None  # its Python cannot be given what it needs, as the link has said
        raise
    if not isinstance(result.get("figures"), dict) or not isinstance(result.get("device"), dict):
        raise Unreachable(f"{there.link.name}: what came back is no result of {verb}")
    result["device"] |= {"link": there.link.name}
    artifact.store_result(verb, result)
    return result


def vouch(artifact: Artifact, trust: bool) -> None:
    """Untrusted unless the user vouches for the artifact's machine code, as for a run in this process."""
    if not (artifact.manifest.native or artifact.manifest.backend in NATIVE):
        return
    if artifact.manifest.target.link.kind == "serial":
        return  # nothing of the artifact is run: the board's owner has programmed it
    try:
        require_trust(artifact, trust)
    except Untrusted as error:
        name = link_name(artifact.manifest.target.link)
        raise Untrusted(f"{error}. It would run on {name}, under the account there") from None


class Flown(WireSession):
    """A policy on the device, decisions asked from here; it remembers what each one took."""

    def __init__(self, client: Client, contract: Contract, **settings: Any) -> None:
        self.inside_us: list[float] = []
        """By the device's clock, without the way there and back."""
        self.round_trip_us: list[float] = []
        """By this machine's clock, from the observation to the action."""
        super().__init__(client, contract, **settings)

    def act(self, obs: np.ndarray) -> np.ndarray:
        begin = time.perf_counter_ns()
        action = super().act(obs)
        self._took(begin)
        return action

    def guarded_act(self, obs: np.ndarray, age_us: int = 0) -> tuple[np.ndarray, int]:
        begin = time.perf_counter_ns()
        decided = super().guarded_act(obs, age_us)
        self._took(begin)
        return decided

    def _took(self, begin_ns: int) -> None:
        if len(self.inside_us) < KEPT_DECISIONS:
            self.round_trip_us.append((time.perf_counter_ns() - begin_ns) / 1e3)
            self.inside_us.append(self.last_us)

    def told(self) -> dict[str, Any]:
        """What a result says of the way: medians and worst cases in microseconds, and connections that were made anew."""
        told: dict[str, Any] = {"decisions": len(self.inside_us), "recoveries": self.recoveries, "retries": self.client.retries}
        for name, values in (("inside", self.inside_us), ("round_trip", self.round_trip_us)):
            if values:
                told[f"{name}_p50_us"], told[f"{name}_worst_us"] = float(np.median(values)), float(np.max(values))
        return told


def linked_session(artifact: Artifact, trust: bool, arguments: tuple[str, ...] = ()) -> Flown:
    """The artifact's policy on the device; a lost connection is made anew, and the episode goes on where it was.

    ``arguments``: words for a native runner, such as --realtime.
    """
    vouch(artifact, trust)
    there = reach(artifact)
    timeout_s, attempts = START_S, 2
    if isinstance(there.link, BoardOnSerial):  # it runs already, and its line may lose bytes: ask again, and soon
        timeout_s, attempts = there.link.timeout_s, ATTEMPTS
    client = Client(there.link.channel(there.installed, arguments), timeout_s=timeout_s, attempts=attempts)
    return Flown(
        client,
        artifact.manifest.contract,
        digest=artifact.manifest.policy_digest,
        reopen=lambda: there.link.channel(there.installed, arguments),
    )
