"""TorchScript archives: the code is read, never run; hidden states in buffers become explicit state."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...errors import BadInput, Unsupported
from ..bundle import Policy
from ..contract import Provenance
from .archive import Archive
from .assemble import assemble
from .deployment import Deployment, read_deployment
from .script_code import ScriptCode, family
from .script_values import Buffer, StateIn, plain
from .script_walk import Module, Walk
from .signal import Choice, Misfit, Signal, StateOut, WidthFound
from .source import Source
from .torch_archive import TorchArchive, is_torch_name
from .unpickler import Record, read_pickle

_WHAT = "a TorchScript archive"
_LISTS = ("torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_tensorlist")
_EXTRA = frozenset({*_LISTS, "torch.jit._pickle.build_boollist", "torch.jit._pickle.restore_type_tag", "torch.device"})


def _allowed(module: str, name: str) -> bool:
    return is_torch_name(module, name) or f"{module}.".startswith("__torch__.") or f"{module}.{name}" in _EXTRA


def read_torchscript(source: Source) -> Policy:
    """The policy that an archive's ``forward`` computes: normalizer, recurrent layers, MLP, as layers.

    ``source.config`` may name a flat deployment YAML; num_obs and num_actions are checked against the network.
    Raises Unsupported for programs that are no chain of known layers, quoting what was found.
    """
    where = str(source.path)
    if source.normalizer is not None and not source.says_no_normalizer:
        raise BadInput(where, expected="no --normalizer: a TorchScript module holds its own", found=f"{source.normalizer}")
    deployment = read_deployment(source.config) if source.config else None
    archive = TorchArchive(Archive(source.path), _allowed, _WHAT)
    if not isinstance(archive.value, Record):
        raise BadInput(where, expected=f"{_WHAT} of one module", found=f"{archive.value!r}"[:80])
    try:
        width, signal, discrete, initial = _recovered(archive)
    except Misfit as error:
        raise Unsupported(
            where, expected="forward code that is a chain of known layers", found=f"{error} in {family(archive.value.path)}"
        ) from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Unsupported(where, expected="forward code that is a chain of known layers", found=f"{error}"[:160]) from error
    warm = any(buffer.array.any() for buffer in initial)
    provenance = Provenance(
        source=f"TorchScript module {family(archive.value.path)} ({source.path.name})",
        tools={"torchscript_version": _version(archive)},
        notes=("the stored hidden state was not zero; the policy starts every episode at zero",) if warm else (),
    )
    if deployment and source.control_hz is None:
        source = dataclasses.replace(source, control_hz=deployment.control_hz)
    policy = assemble(source, width, signal, provenance, discrete=discrete, units=deployment.action_units if deployment else "")
    return _deployed(policy, deployment) if deployment else policy


def _recovered(archive: TorchArchive) -> tuple[int, Signal, bool, list[Buffer]]:
    """(observation length, action signal, whether it is a choice, state buffers).

    The length is not written down anywhere: the first layer tells it. Where code asks for it before (a slice,
    a number added to the observation), the input lengths of the archive's matrices are tried in turn.
    """
    code, constants = ScriptCode(archive.archive, archive.folder), _constants(archive)
    candidates = [0]
    first: Misfit | None = None
    while candidates:
        width = candidates.pop(0)
        try:
            walk, result = _follow(archive, code, constants, width)
            return width, *_result(walk, result, archive)
        except WidthFound as found:
            candidates = [found.size]
        except Misfit as error:
            first = first or error
            if width == 0 and str(error).endswith("unknown length"):
                candidates = _input_lengths(archive)
                first = error if not candidates else None
    raise first or Misfit("layers for several observation lengths")


def _input_lengths(archive: TorchArchive) -> list[int]:
    """Distinct numbers of columns of the archive's matrices, in stored order."""
    lengths: dict[int, None] = {}
    pending = [archive.value]
    for _ in range(10_000):
        if not pending:
            break
        value = pending.pop(0)
        if archive.is_tensor(value):
            shape = archive.array(value).shape
            lengths |= {shape[-1]: None} if len(shape) >= 2 else {}
        elif isinstance(value, Record) and isinstance(value.state, dict):
            pending += value.state.values()
    return list(lengths)[:64]


def _follow(archive: TorchArchive, code: ScriptCode, constants: list[Any], width: int) -> tuple[Walk, Any]:
    """Walk ``forward`` with an observation of ``width`` entries (0: not known yet, WidthFound will tell)."""
    methods = code.methods(archive.value.path)
    entries = [name for name in ("forward", *sorted(methods)) if name in methods and name.startswith("forward")]
    if not entries:
        raise Misfit("no method forward")
    names = [a.arg for a in methods[entries[0]].args.args][1:]
    if not names:
        raise Misfit("a forward without an observation")
    walk = Walk(archive, code, constants)
    observation = Signal((1, width) if width else ())
    states = {name: StateIn(name) for name in names[1:]}
    return walk, walk.call(Module(archive.value, ""), entries[0], [observation], states)


def _result(walk: Walk, result: Any, archive: TorchArchive) -> tuple[Signal, bool, list[Buffer]]:
    """(action signal, whether its largest entry is the choice, state buffers).

    Every recurrent layer must write back the state that it read.
    """
    outputs = list(result) if isinstance(result, list | tuple) else [result]
    first = plain(outputs[0])
    signal = first.of if isinstance(first, Choice) else first
    if not isinstance(signal, Signal) or (len(outputs) > 1 and any(isinstance(o, Signal) for o in outputs[1:])):
        raise Misfit(f"a result of {len(outputs)} values that is no action (and recurrent states)")
    if not signal.steps:
        raise Misfit("an action that is the observation itself")
    returned: dict[str, list[StateOut]] = {}
    for value in [*walk.writes.values(), *outputs[1:], *(v for o in outputs[1:] if isinstance(o, tuple) for v in o)]:
        parts = value if isinstance(value, list) else [value]
        if parts and all(isinstance(p, StateOut) for p in parts):
            returned[parts[0].source.name] = parts
    used: set[str] = set()
    for step in signal.steps:
        for key in step.states:
            used.add(key.name)
            parts = returned.get(key.name, [])
            if key.layer >= len(parts) or parts[key.layer].signal.steps[-1] is not step or parts[key.layer].source != key:
                raise Misfit(f"the recurrent state {key.name!r}, which is read and not written back")
            target = walk.writes.get(key.name)
            if target is None and not any(
                parts is o or (isinstance(o, tuple) and any(parts is v for v in o)) for o in outputs[1:]
            ):
                raise Misfit(f"the recurrent state {key.name!r}, which is stored somewhere else")
    if stray := sorted(set(walk.writes) - used):
        raise Misfit(f"the buffer {stray[0]!r}, which changes from call to call and is no recurrent state")
    state = archive.value.state if isinstance(archive.value.state, dict) else {}
    return (
        signal,
        isinstance(first, Choice),
        [Buffer(n, archive.array(state[n])) for n in sorted(used) if n in state and archive.is_tensor(state[n])],
    )


def _constants(archive: TorchArchive) -> list[Any]:
    """The tensors of constants.pkl, as arrays; they lie in constants/."""
    name = f"{archive.folder}constants.pkl"
    if name not in archive.archive.names:
        return []
    value = read_pickle(archive.archive.read(name), f"{archive.where}: constants.pkl", _allowed, _WHAT)
    items = value if isinstance(value, list | tuple) else []
    return [archive.array(item, "constants/") if archive.is_tensor(item) else item for item in items]


def _version(archive: TorchArchive) -> str:
    name = f"{archive.folder}version"
    return archive.archive.text(name, 64).strip()[:20] if name in archive.archive.names else "unknown"


def _deployed(policy: Policy, deployment: Deployment) -> Policy:
    """The policy with what the deployment file says about its observation, after checking the widths."""
    deployment.check("num_obs", policy.contract.observation.size)
    deployment.check("num_actions", policy.contract.action.size)
    observation = dataclasses.replace(policy.contract.observation, units=deployment.observation_units)
    return policy.replace(contract=dataclasses.replace(policy.contract, observation=observation))
