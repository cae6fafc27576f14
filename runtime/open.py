"""Open an artifact: from its back-end and link to the session that runs it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Unsupported
from .artifact import Artifact
from .session import Session
from .trust import require_trust


def _onnxruntime(artifact: Artifact, trust: bool) -> Session:
    # An ONNX graph is data to ONNX Runtime's own kernels; it needs trust only where its maker says that it is more.
    if artifact.manifest.native:
        require_trust(artifact, trust)
    from .onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(artifact)


def _c(artifact: Artifact, trust: bool) -> Session:
    # Whatever the manifest says about itself: what is about to be loaded is machine code.
    require_trust(artifact, trust)
    from .c_session import CSession

    return CSession(artifact)


def _tensorrt(artifact: Artifact, trust: bool) -> Session:
    # An engine holds kernels for the GPU, and may hold code for the processor; a kit is refused by the session.
    if artifact.manifest.native:
        require_trust(artifact, trust)
    from .tensorrt_session import TensorRTSession

    return TensorRTSession(artifact)


def _virtual(artifact: Artifact, trust: bool) -> Session:  # noqa: ARG001 the emulator is the sandbox: no trust needed
    from .virtual_session import VirtualSession

    return VirtualSession(artifact)


def _linked(artifact: Artifact, trust: bool) -> Session:
    from .remote import linked_session

    return linked_session(artifact, trust)


SESSIONS: dict[tuple[str, str], Callable[[Artifact, bool], Session]] = {
    ("onnxruntime", "local"): _onnxruntime,
    ("c", "local"): _c,
    ("c", "virtual"): _virtual,
    ("tensorrt", "local"): _tensorrt,
    ("tvm", "local"): _c,
    ("tvm", "virtual"): _virtual,
    **{(backend, link): _linked for backend in ("onnxruntime", "c", "tensorrt", "tvm") for link in ("ssh", "agent")},
    ("c", "serial"): _linked,
}
"""(back-end, link) -> what opens it. A new back-end is a new file and one line here."""


def open_session(artifact: Artifact, *, trust: bool = False) -> Session:
    """A session for an artifact whose hashes were verified by :meth:`Artifact.load`.

    ``trust`` vouches for native code that was not built here (see :mod:`pilotfish.runtime.trust`).
    Raises Untrusted, Unsupported for a back-end that this link has no session for, BadInput where machine,
    CPU features or sizes do not match, and MissingTool for an absent extra.
    """
    key = (artifact.manifest.backend, artifact.manifest.target.link.kind)
    opener = SESSIONS.get(key)
    if opener is None:
        known = ", ".join(f"{backend} over {link}" for backend, link in SESSIONS)
        raise Unsupported(artifact.path, expected=f"one of: {known}", found=f"{key[0]} over {key[1]}")
    return opener(artifact, trust)
