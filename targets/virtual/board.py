"""The virtual board: a policy's real firmware, executed instruction by instruction, with what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import BadInput
from ..profile import Target
from .cores import find_core
from .cycles import find_table
from .image import read_image
from .machine import PAINT, Machine
from .profiler import CallProfile, Profiler

MAX_VALUES = 1_000_000
"""Most values that an observation, a state or an action may have."""


class Sizes(NamedTuple):
    """The firmware's ``pilotfish_sizes``."""

    obs: int
    """Values of an observation."""
    state: int
    """Values of the recurrent state; 0: none."""
    action: int
    """Values of an action; 1 where it is discrete."""
    discrete: bool
    """True: the action is an index."""


@dataclass(frozen=True)
class BoardProfile:
    """What decisions cost on the board; one entry per observation, all [N] int64. Source: emulated."""

    instructions: npt.NDArray[np.int64]
    """Executed instructions, exact; those that an IT block skips are counted, as they take a cycle."""
    cycles_low: npt.NDArray[np.int64] | None
    """Cycles, low end: at zero wait states from a cycle table, widened to what hardware was seen to take beside such estimates
    (``CostTable.measured``); with all stalls from a published CPI; None where the target names neither."""
    cycles_typical: npt.NDArray[np.int64] | None
    """Cycles, typical."""
    cycles_high: npt.NDArray[np.int64] | None
    """Cycles, high end, likewise."""
    memory_stall_cycles: npt.NDArray[np.int64] | None
    """Cycles lost to flash wait states, by the line model; to be added to the cycles. None without a table: a CPI holds them."""
    stack_bytes: int
    """Deepest stack over all observations."""
    clock_hz: float | None
    """The board's clock."""
    note: str
    """What a reader of the cycles must know, such as where they come from; may be empty."""

    @property
    def stalls_in_cycles(self) -> bool:
        """True where the cycles are a published CPI, measured with its stalls."""
        return self.cycles_typical is not None and self.memory_stall_cycles is None

    def latency_us(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """(low, typical, high) time of each decision in microseconds, stalls included; None without cycles or clock."""
        if self.cycles_low is None or self.cycles_typical is None or self.cycles_high is None or self.clock_hz is None:
            return None
        stalls = self.memory_stall_cycles if self.memory_stall_cycles is not None else 0
        low, typical, high = (
            (cycles + stalls) / self.clock_hz * 1e6 for cycles in (self.cycles_low, self.cycles_typical, self.cycles_high)
        )
        return low, typical, high


class VirtualBoard:
    """The firmware ``elf`` on the board that ``target`` describes.

    Raises BadInput where the firmware is none or does not fit the board, MissingTool where the emulator is not
    installed, Unreachable where the board does not answer. After a crash, ``reset`` powers it on again.
    """

    def __init__(self, elf: Path, target: Target) -> None:
        self.target = target
        self._table = find_table(target.cost.table) if target.cost and target.cost.table else None
        image = read_image(Path(elf), target.memory, find_core(target.cpu.core).isa)
        self.flash_bytes, self.ram_static_bytes = image.flash_bytes, image.ram_static_bytes
        self._machine = Machine(image, target)
        self.sizes = self._read_sizes()
        self._reset, self._step = (image.symbol(name).address for name in ("pilotfish_reset", "pilotfish_step"))
        self._obs = self._machine.view("pilotfish_obs", "<f4", self.sizes.obs)
        self._state = self._machine.view("pilotfish_state", "<f4", max(self.sizes.state, 1))[: self.sizes.state]
        self._action = self._machine.view("pilotfish_action", "<i4" if self.sizes.discrete else "<f4", self.sizes.action)
        self._shape = (self.sizes.obs,)
        self.reset()

    def _read_sizes(self) -> Sizes:
        image = self._machine.image
        symbol = image.symbol("pilotfish_sizes", 16)
        obs, state, action, discrete = (int(v) for v in np.frombuffer(self._machine.read(symbol.address, 16), "<i4"))
        right = 0 < obs <= MAX_VALUES and 0 <= state <= MAX_VALUES and 0 < action <= MAX_VALUES and discrete in (0, 1)
        if not right or (discrete and action != 1):
            raise BadInput(
                image.path,
                expected="pilotfish_sizes = {observation, state, action values, 1 if discrete}",
                found=f"{{{obs}, {state}, {action}, {discrete}}}",
            )
        return Sizes(obs, state, action, bool(discrete))

    def reset(self) -> None:
        """Start an episode: the recurrent state goes back to its initial value. Restarts a crashed board."""
        if self._machine.crashed:
            self._machine.boot()
        self._machine.call(self._reset)

    def step(self, obs: npt.ArrayLike) -> npt.NDArray[Any]:
        """One decision: ``obs`` [obs] -> action, float32 [action] or int64 [1]; the state is carried."""
        self._observe(obs)
        self._machine.call(self._step)
        return self._action.astype(np.int64) if self.sizes.discrete else self._action.copy()

    def _observe(self, obs: npt.ArrayLike) -> None:
        values = np.asarray(obs, np.float32)
        if values.shape != self._shape:
            raise BadInput("observation", expected=f"shape {self._shape}", found=f"shape {values.shape}")
        self._obs[:] = values

    @property
    def state(self) -> npt.NDArray[np.float32]:
        """The recurrent state, float32 [state] (a copy)."""
        return self._state.copy()

    @state.setter
    def state(self, values: npt.ArrayLike) -> None:
        new = np.asarray(values, np.float32)
        if new.shape != self._state.shape:
            raise BadInput("state", expected=f"shape {self._state.shape}", found=f"shape {new.shape}")
        self._state[:] = new

    def profile(
        self, observations: npt.ArrayLike, *, enough_instructions: int | None = None, step: str = "pilotfish_step"
    ) -> BoardProfile:
        """What each decision costs: ``observations`` [N, obs], taken in order from a reset; ends with a reset.

        ``step``: the function that decides, such as "pilotfish_guard_step" where the firmware has a guard.

        After ``enough_instructions`` no further observation is taken: soft float costs 0.3 s each.
        """
        rows = np.asarray(observations, np.float32)
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[1:] != self._shape:
            raise BadInput("observations", expected=f"shape [N, {self.sizes.obs}] with N > 0", found=f"shape {list(rows.shape)}")
        address = self._machine.image.symbol(step).address
        self.reset()
        free = self._paint_stack()
        with Profiler(self._machine, self._table, self.target.cost) as profiler:
            calls: list[CallProfile] = []
            for row in rows:
                if enough_instructions is not None and sum(call.instructions for call in calls) >= enough_instructions:
                    break
                self._observe(row)
                calls.append(profiler.call(address))
        touched = np.flatnonzero(free != PAINT)
        stack_bytes = int(free.size - touched[0] + 3) // 4 * 4 if touched.size else 0
        self.reset()
        instructions = np.array([c.instructions for c in calls], np.int64)
        cost = self.target.cost
        band, note = None, ""
        if self._table:
            widened = [self._table.widened(c.cycles, c.stall_cycles or 0) for c in calls if c.cycles is not None]
            band, note = np.array(widened, np.int64).T, self._table.note
        elif cost and cost.cpi:
            band = np.ceil(np.outer(cost.cpi, instructions)).astype(np.int64)
            band_text = " to ".join(f"{cpi:g}" for cpi in (cost.cpi[0], cost.cpi[2]))
            note = f"instructions times {cost.cpi[1]:g} ({band_text}) cycles each, stalls included, after {cost.source}"
        has_stalls = all(c.stall_cycles is not None for c in calls)
        return BoardProfile(
            instructions=instructions,
            cycles_low=None if band is None else band[0],
            cycles_typical=None if band is None else band[1],
            cycles_high=None if band is None else band[2],
            memory_stall_cycles=np.array([c.stall_cycles for c in calls], np.int64) if has_stalls else None,
            stack_bytes=stack_bytes,
            clock_hz=self.target.cpu.clock_hz,
            note=note,
        )

    def _paint_stack(self) -> npt.NDArray[np.uint8]:
        """Fill the unused stack with PAINT; returns the live view of it, lowest address first."""
        machine = self._machine
        free = machine.ram[machine.stack_floor - machine.ram_start : machine.call_stack - machine.ram_start]
        free[:] = PAINT
        return free

    def close(self) -> None:
        """Release the emulator."""
        self._machine.close()
