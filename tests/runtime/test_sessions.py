"""Law: every session acts like the plain reference, refuses what its contract does not say, and never runs foreign code."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy.reference import Reference
from pilotfish.runtime.artifact import MANIFEST, Artifact, writing_artifact
from pilotfish.runtime.open import open_session
from pilotfish.runtime.session import Session
from pilotfish.targets import host, load_target

BACKENDS = ["onnxruntime", "c"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["mlp", "gru", "lstm"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sessions_act_like_the_reference(build, policy_of, backend: str, kind: str, seed: int) -> None:
    policy = policy_of(kind, seed=seed)
    session, reference = open_session(build(policy, backend)), Reference(policy)
    assert isinstance(session, Session)
    for _ in range(2):
        session.reset()
        reference.reset()
        for obs in policy.golden.obs[:40]:
            action = session.act(obs)
            assert action.dtype == np.float32 and action.shape == (3,)
            np.testing.assert_allclose(action, reference.act(obs), atol=2e-6)
            np.testing.assert_allclose(session.state, reference.state, atol=2e-6)
    session.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_discrete_actions_are_one_int64(build, policy_of, backend: str) -> None:
    policy = policy_of(discrete=True)
    session = open_session(build(policy, backend))
    actions = [session.act(obs) for obs in policy.golden.obs]
    assert all(a.dtype == np.int64 and a.shape == (1,) for a in actions)
    assert np.array_equal(np.stack(actions), policy.golden.action)
    session.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_can_be_set_and_copies_are_given_out(build, policy_of, backend: str) -> None:
    policy = policy_of("lstm")
    session = open_session(build(policy, backend))
    state = np.linspace(-0.5, 0.5, 24, dtype=np.float32)
    first, second = [], []
    for out in (first, second):
        session.state = state
        out += [session.act(obs) for obs in policy.golden.obs[:3]]
    assert np.array_equal(first, second) and not np.array_equal(first[0], first[1])
    kept = session.state
    session.act(policy.golden.obs[0])
    assert not np.array_equal(kept, session.state)
    with pytest.raises(BadInput, match=r"cell_h\[12\], cell_c\[12\]"):
        session.state = np.zeros(23)
    session.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_observations_are_cast_or_refused(build, policy_of, backend: str) -> None:
    policy = policy_of()
    session = open_session(build(policy, backend))
    obs = policy.golden.obs[0]
    wanted = session.act(obs)
    for same in (obs.astype(np.float64), list(map(float, obs)), np.repeat(obs, 2)[::2]):
        assert np.array_equal(session.act(same), wanted)
    for wrong in (obs[:4], np.zeros(6), obs[None], np.zeros(1), 3.0, ["a"] * 5, obs.astype(complex), None, [[1], [2, 3]]):
        with pytest.raises(BadInput, match="observation"):
            session.act(wrong)
    assert np.array_equal(session.act(obs), wanted)
    session.close()
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.act(obs)


def test_a_rebuild_at_the_same_path_is_what_runs_next(build, policy_of) -> None:
    """The dynamic loader would answer a path that it has seen with the library it loaded then."""
    first, second = policy_of(seed=1).replace(name="same"), policy_of(seed=2).replace(name="same")
    old = open_session(build(first, "c"))
    new = open_session(build(second, "c"))
    obs = first.golden.obs[0]
    np.testing.assert_allclose(old.act(obs), Reference(first).act(obs), atol=1e-6)
    np.testing.assert_allclose(new.act(obs), Reference(second).act(obs), atol=1e-6)
    old.close()
    np.testing.assert_allclose(new.act(obs), Reference(second).act(obs), atol=1e-6)
    new.close()


def edited(artifact: Artifact, **changes) -> Artifact:
    """The artifact with other manifest fields (as a stranger, or another machine, would have written it)."""
    manifest = dataclasses.replace(artifact.manifest, **changes)
    text = json.dumps(MANIFEST.dump_python(manifest, mode="json"))
    (artifact.path / "artifact.json").write_text(text)
    return Artifact.load(artifact.path)


def test_code_for_another_machine_is_refused(build, policy_of) -> None:
    artifact = edited(build(policy_of(), "c"), machine="pdp11-unix")
    with pytest.raises(BadInput, match=r"pdp11-unix.*pilotfish export"):
        open_session(artifact, trust=True)


def test_missing_cpu_features_are_named(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = build(policy_of(), "c")
    artifact = edited(artifact, tools=artifact.manifest.tools | {"cpu_flags": "fpu, warp_drive"})
    monkeypatch.setattr(host, "cpu_flags", lambda: frozenset({"fpu"}))
    with pytest.raises(BadInput, match="no warp_drive"):
        open_session(artifact, trust=True)
    monkeypatch.setattr(host, "cpu_flags", frozenset)  # a machine that does not tell: nothing to compare with
    open_session(artifact, trust=True).close()


X86 = {
    "Haswell": "fpu sse2 pni ssse3 fma movbe popcnt sse4_1 sse4_2 avx f16c abm avx2 bmi1 bmi2",
    "Cascade Lake": "fpu sse2 pni ssse3 fma movbe popcnt sse4_1 sse4_2 avx f16c abm avx2 bmi1 bmi2"
    " avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni",
}
"""Vector and integer extensions as /proc/cpuinfo spells them."""


@pytest.mark.skipif(host.machine() != "x86_64-linux", reason="x86 compiler flags")
@pytest.mark.parametrize(
    "built_for, here, missing",
    [
        ("haswell", "Haswell", ""),
        ("haswell", "Cascade Lake", ""),
        ("cascadelake", "Cascade Lake", ""),
        ("cascadelake", "Haswell", "avx512_vnni, avx512bw, avx512cd, avx512dq, avx512f, avx512vl"),
        ("icelake-server", "Cascade Lake", "avx512_bitalg, avx512_vbmi2, avx512_vpopcntdq, avx512ifma, avx512vbmi, gfni, vaes"),
        ("alderlake", "Cascade Lake", "avx_vnni, gfni"),
        ("x86-64", "Haswell", ""),
    ],
)
def test_code_for_another_cpu_is_refused(
    build, policy_of, tmp_path, monkeypatch: pytest.MonkeyPatch, built_for: str, here: str, missing: str
) -> None:
    """The compiler's macros become the kernel's names of CPU extensions, and those are compared with a (made up) host's."""
    artifact = build(policy_of(), "c")
    from pilotfish.errors import MissingTool
    from pilotfish.export.c.host import cpu_flags
    from pilotfish.export.c.toolchain import CompileError, host_compiler

    try:
        flags = cpu_flags(host_compiler(), [f"-march={built_for}"], tmp_path)
    except (CompileError, MissingTool) as error:
        pytest.skip(f"a compiler that knows -march={built_for}: {str(error)[:60]}")
    artifact = edited(artifact, tools=artifact.manifest.tools | {"cpu_flags": " ".join(flags)})
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {X86[here]}\n")
    true_flags = host.cpu_flags
    monkeypatch.setattr(host, "cpu_flags", lambda: true_flags(tmp_path / "cpuinfo"))
    if missing:
        with pytest.raises(BadInput, match=rf"features it was built for, found no {missing}.*pilotfish export"):
            open_session(artifact, trust=True)
    else:
        open_session(artifact, trust=True).close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_entry_that_is_not_the_contracts_is_refused(build, policy_of, tmp_path: Path, backend: str) -> None:
    """Buffers are bound by address: sizes that disagree would read and write past them."""
    other = build(policy_of(inputs=50, outputs=9), backend)
    policy = policy_of(seed=3)
    with writing_artifact(tmp_path / "mixed", policy) as (folder, fields):
        (folder / other.manifest.entry).write_bytes(other.entry.read_bytes())
        names = ("target", "backend", "precision", "entry", "native", "machine", "tools", "sizes")
        fields.update({name: getattr(other.manifest, name) for name in names})
    with pytest.raises(BadInput, match="as the contract says"):
        open_session(Artifact.load(tmp_path / "mixed"), trust=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_garbage_is_refused_in_one_line(policy_of, tmp_path: Path, backend: str) -> None:
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    with writing_artifact(tmp_path / "garbage", policy_of()) as (folder, fields):
        (folder / "entry.bin").write_bytes(b"\x7fELF not really" * 10)
        fields.update(
            target=load_target("host-cpu"), backend=backend, precision="fp32", entry="entry.bin", native=True,
            machine=host.machine(), tools={}, sizes={},
        )  # fmt: skip
    with pytest.raises(BadInput) as error:
        open_session(Artifact.load(tmp_path / "garbage"), trust=True)
    assert "\n" not in str(error.value)


def test_runtime_imports_no_torch_and_no_optional_package() -> None:
    """A Raspberry Pi has numpy, pydantic and safetensors."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "onnxruntime", "gymnasium", "unicorn", "capstone", "elftools", "plotly"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
import pilotfish.runtime.bench, pilotfish.runtime.evaluate, pilotfish.runtime.verify, pilotfish.runtime.trust
import pilotfish.runtime.c_session, pilotfish.runtime.onnxruntime_session, pilotfish.runtime.virtual_session
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
