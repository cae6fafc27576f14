"""An artifact of the TVM back-end on another machine, through TVM's remote procedure calls.

The other machine runs ``python -m tvm.exec.rpc_server --host 127.0.0.1 --port 9090``. That server executes whatever it is
sent and asks nobody: let it listen on 127.0.0.1 (its own default is every network), and reach it through ``ssh -L``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, Unreachable, Unsupported, require
from .artifact import Artifact
from .session import action_size, checked_observation, checked_state, state_size
from .trust import require_trust

FUNCTION = "policy_step"
LIBRARY = "policy.so"
LOOPBACK = "127.0.0.1"


class TvmRpcSession:
    """See :class:`pilotfish.runtime.session.Session`. One call over the network a decision, tensors made once.

    The library is sent over and loaded there; observation, state and action live there, and the state stays there.
    """

    def __init__(
        self, artifact: Artifact, port: int, host: str = LOOPBACK, *, trust: bool = False, timeout_s: float = 10.0
    ) -> None:
        """Connect to the server at ``host``:``port`` and load the artifact there.

        Raises Untrusted as for every machine code, MissingTool without TVM here, Unreachable where nobody answers,
        BadInput where the server's machine does not load the library or the file is not the one that was sealed.
        """
        require_trust(artifact, trust)
        if artifact.manifest.backend != "tvm" or artifact.manifest.entry != LIBRARY:
            found = f"{artifact.manifest.backend}, {artifact.manifest.entry}"
            raise Unsupported(artifact.path, expected="a library of the tvm back-end", found=found)
        rpc: Any = require("tvm.rpc", "tvm")
        self.contract = contract = artifact.manifest.contract
        code = artifact.read()
        try:
            self._remote = rpc.connect(host, port, session_timeout=timeout_s)
        except Exception as error:
            raise Unreachable(f"no TVM server answers at {host}:{port} ({_line(error)})") from error
        with tempfile.TemporaryDirectory(prefix="pilotfish-") as folder:
            name = f"pilotfish-{artifact.digest[:16]}.so"
            copy = Path(folder) / name
            copy.write_bytes(code)
            self._remote.upload(str(copy))
        try:
            self._module = self._remote.load_module(name)
            self._step = self._module.get_function(FUNCTION)
        except Exception as error:
            raise BadInput(
                artifact.entry,
                expected=f"a library that the server's machine loads, built for {artifact.manifest.machine}",
                found=_line(error),
            ) from error
        tensor: Any = require("tvm", "tvm").runtime.tensor
        device = self._remote.cpu()
        self._discrete = contract.action.kind == "discrete"
        self._obs = tensor(np.zeros(contract.observation.size, np.float32), device)
        self._state = tensor(np.zeros(max(1, state_size(contract)), np.float32), device)
        self._action = tensor(np.zeros(action_size(contract), np.int32 if self._discrete else np.float32), device)
        self._zero = np.zeros(max(1, state_size(contract)), np.float32)

    def reset(self) -> None:
        self._state.copyfrom(self._zero)

    @property
    def state(self) -> np.ndarray:
        return self._state.numpy()[: state_size(self.contract)].copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        values = self._zero.copy()
        values[: state_size(self.contract)] = checked_state(self.contract, flat)
        self._state.copyfrom(values)

    def act(self, obs: np.ndarray) -> np.ndarray:
        if self._step is None:
            raise RuntimeError("this session is closed")
        self._obs.copyfrom(np.ascontiguousarray(checked_observation(self.contract, obs)))
        self._step(self._obs, self._state, self._action)
        return self._action.numpy().astype(np.int64 if self._discrete else np.float32)

    def time_remote(self, calls: int = 1_000, repeat: int = 10) -> np.ndarray:
        """Seconds of one decision there, without the network: ``repeat`` means over ``calls`` calls, float64 [repeat].

        The state is advanced as by as many decisions.
        """
        timer = self._module.time_evaluator(FUNCTION, self._remote.cpu(), number=calls, repeat=repeat)
        return np.asarray(timer(self._obs, self._state, self._action).results)

    def close(self) -> None:
        """Let go of everything over there; the server ends its session."""
        self._step = self._module = self._obs = self._state = self._action = self._remote = None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
