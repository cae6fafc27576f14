"""n copies of a MuJoCo model in MuJoCo Warp's memory, seen as torch tensors without a copy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import require
from ...policy.environment import listen_to_mujoco
from .task import Bodies, Task


class Physics:
    """The simulator of one task: ``bodies`` to read and write, ``advance`` for a decision, ``evaluate`` after writing a state.

    Arithmetic is float32, where MuJoCo's own is float64; MuJoCo Warp therefore never solves beyond a tolerance of 1e-6.
    Raises MissingTool without ``mujoco_warp`` or Gymnasium.
    """

    def __init__(self, task: Task, count: int, device: torch.device) -> None:
        self._wp: Any = require("warp", "warp")
        self._mjw: Any = require("mujoco_warp", "warp")
        mujoco: Any = require("mujoco", "sim")
        gymnasium: Any = require("gymnasium", "sim")
        listen_to_mujoco()
        assets = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
        model = mujoco.MjModel.from_xml_path(str(assets / task.xml_file))
        if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
            model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # MuJoCo Warp has no PGS; Newton solves the same problem
        home = mujoco.MjData(model)
        self._device = device
        self._frame_skip = task.frame_skip
        with self._wp.ScopedDevice(str(device)):
            from .frames import align_capsules  # a Warp kernel: it cannot even be imported without Warp

            self._model = self._mjw.put_model(model)
            self._model.callback.contactfilter = align_capsules
            self._data = self._mjw.put_data(model, home, nworld=count, nconmax=task.max_contacts, njmax=task.max_constraints)
        view = self._wp.to_torch
        self.bodies = Bodies(
            **{name: view(getattr(self._data, name)) for name in Bodies.__dataclass_fields__ if name != "body_mass"},
            body_mass=torch.tensor(model.body_mass, dtype=torch.float32, device=device),
        )
        self.ctrl: Tensor = view(self._data.ctrl)
        """float32 [n, actuators], in the model's units."""
        self.warm_start: Tensor = view(self._data.qacc_warmstart)
        """float32 [n, nv]: the solver's first guess of the accelerations; part of the state."""
        self.overflow: Tensor = view(self._data.overflow)
        """int32 [n]: bits of ``mujoco_warp.OverflowType``; set where contacts or constraints did not fit their memory."""
        self.qpos0 = torch.tensor(model.qpos0, dtype=torch.float32, device=device)
        limits = torch.tensor(model.actuator_ctrlrange, dtype=torch.float32, device=device)
        self.low, self.high = limits[:, 0], limits[:, 1]
        """float32 [actuators]: the range of ``ctrl``."""
        self.decision_s = float(model.opt.timestep) * task.frame_skip
        """Seconds per decision."""
        self._graph = self._capture() if device.type == "cuda" else None

    def advance(self) -> None:
        """Apply ``ctrl`` for one decision, and compute the forces on bodies (``cfrc_ext``)."""
        if self._graph is not None:
            self._wp.capture_launch(self._graph, stream=self._torch_stream())
        else:
            self._substeps()

    def evaluate(self) -> None:
        """Compute everything that follows from qpos, qvel and ctrl, in all copies."""
        stream = self._wp.ScopedStream(self._torch_stream()) if self._graph is not None else contextlib.nullcontext()
        with self._wp.ScopedDevice(str(self._device)), stream:
            self._mjw.forward(self._model, self._data)

    def _substeps(self) -> None:
        with self._wp.ScopedDevice(str(self._device)):
            for _ in range(self._frame_skip):
                self._mjw.step(self._model, self._data)
            self._mjw.rne_postconstraint(self._model, self._data)

    def _capture(self) -> Any:
        """One decision as a CUDA graph: some hundred small kernels, whose launches would otherwise cost more than their work."""
        self._substeps()  # compiles the kernels, which must not happen while capturing
        self._mjw.reset_data(self._model, self._data)
        with self._wp.ScopedCapture(str(self._device)) as capture:
            self._substeps()
        self._wp.synchronize_device(str(self._device))  # once: from here on all work is in torch's stream
        return capture.graph

    def _torch_stream(self) -> Any:
        """torch's current CUDA stream, so that physics and network run in order without a host sync."""
        return self._wp.stream_from_torch(torch.cuda.current_stream(self._device))
