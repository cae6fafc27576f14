"""Law: the extension decides as ctypes does, says no in words, touches no memory but its own, and clashes with nobody."""

import ctypes
import gc
import re
import sys
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime import c_binding, c_session
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.c_binding import NoBinding
from pilotfish.runtime.open import open_session
from pilotfish.runtime.session import Preallocated
from pilotfish.targets import load_target

PATHS = ["extension", "ctypes"]


@pytest.fixture
def opened(build, monkeypatch: pytest.MonkeyPatch):
    """``opened(policy, path)`` -> a session that calls by that path; a skip says why there is no extension."""

    def make(policy, path: str = "extension"):
        artifact = policy if isinstance(policy, Artifact) else build(policy, "c")
        if path == "ctypes":
            with monkeypatch.context() as patch:
                patch.setattr(c_session, "load_binding", no_binding)
                session = open_session(artifact)
            assert session.call_path == "ctypes: as the test wants it"
            return session
        session = open_session(artifact)
        if session.call_path != "CPython extension":
            pytest.skip(session.call_path)
        return session

    return make


def no_binding(_):
    raise NoBinding("as the test wants it")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind, discrete", [("mlp", False), ("mlp", True), ("gru", False), ("lstm", True), ("int8", False)])
def test_all_calls_decide_alike(opened, keep, policy_of, path: str, kind: str, discrete: bool) -> None:
    policy = policy_of(kind, discrete=discrete, seed=4)
    artifact = keep(policy, "c", load_target("host-cpu"))
    session, again, other = opened(artifact, path), opened(artifact, path), opened(artifact, path)
    obs = policy.golden.obs[:50].astype(np.float32)
    reference = Reference(policy)
    wanted = np.stack([reference.act(row) for row in obs])
    kept = [session.act(row) for row in obs]
    np.testing.assert_allclose(np.stack(kept), wanted, atol=1e-5 if kind != "int8" else 0.05)
    out = np.full_like(kept[0], 77)
    for row, action in zip(obs, kept, strict=True):
        assert again.act_into(row, out) is None
        assert np.array_equal(out, action) and out.dtype == action.dtype
    assert np.array_equal(session.state, again.state)
    assert isinstance(session, Preallocated)
    if policy.contract.state:
        with pytest.raises(Unsupported, match=r"carries cell_h\[12\].*row by row"):
            other.act_batch(obs)
    else:
        rows = other.act_batch(obs)
        assert rows.dtype == out.dtype and np.array_equal(rows, np.stack(kept))
        given = np.zeros_like(rows)
        assert other.act_batch(obs, given) is given and np.array_equal(given, rows)
        assert np.array_equal(other.act_batch(obs.astype(np.float64)[::-1]), rows[::-1])
        assert other.act_batch(obs[:0]).shape == (0, *out.shape)
        assert np.array_equal(other.act_batch(np.asfortranarray(obs).tolist()), rows)
    session.reset()
    assert not session.state.any()
    for each in (session, again, other):
        each.close()


@pytest.mark.parametrize("path", PATHS)
def test_outputs_that_do_not_fit_are_refused(opened, policy_of, path: str) -> None:
    session = opened(policy_of(), path)
    obs = np.zeros(5, np.float32)
    readonly = np.zeros(3, np.float32)
    readonly.flags.writeable = False
    unaligned = np.zeros(13, np.uint8)[1:].view(np.float32)
    swapped = np.zeros(3, ">f4" if sys.byteorder == "little" else "<f4")
    memory = np.zeros(8, np.float32)
    wrong = [
        np.zeros(3),
        np.zeros(2, np.float32),
        np.zeros((1, 3), np.float32),
        np.zeros(6, np.float32)[::2],
        readonly,
        unaligned,
    ]
    wrong += [swapped, np.zeros(3, np.int32), np.ma.zeros(3, np.float32), [0.0] * 3, None, bytearray(12), np.float32(0)]
    for out in wrong:
        with pytest.raises(BadInput, match=r"^out: expected a writeable.*\(3,\)"):
            session.act_into(obs, out)
    with pytest.raises(BadInput, match="shares with the observation"):
        session.act_into(memory[:5], memory[4:7])
    session.act_into(memory[:5], memory[5:])
    for out in [np.zeros((2, 3)), np.zeros((3, 3), np.float32), np.zeros((3, 2), np.float32).T, np.zeros(6, np.float32), "x"]:
        with pytest.raises(BadInput, match=r"^out: expected a writeable.*\(2, 3\)"):
            session.act_batch(np.zeros((2, 5), np.float32), out)
    memory = np.zeros(20, np.float32)
    with pytest.raises(BadInput, match="shares with the observation"):
        session.act_batch(memory[:10].reshape(2, 5), memory[9:15].reshape(2, 3))
    for rows in [obs, np.zeros((2, 4)), np.zeros((1, 2, 5)), [["a"] * 5], [[1], [2, 3]], None, np.zeros((2, 5), complex)]:
        with pytest.raises(BadInput, match=r"^observations: .*\(N, 5\)"):
            session.act_batch(rows)
    for arguments in [(), (obs,), (obs, np.zeros(3, np.float32), 1)]:
        with pytest.raises(TypeError):
            session.act_into(*arguments)
    session.close()
    for call in (session.act, lambda o: session.act_into(o, np.zeros(3, np.float32)), lambda o: session.act_batch(o[None])):
        with pytest.raises(RuntimeError, match="closed"):
            call(obs)


@pytest.mark.parametrize("path", PATHS)
def test_odd_observations_are_converted(opened, policy_of, path: str) -> None:
    policy = policy_of(seed=2)
    session = opened(policy, path)
    obs = policy.golden.obs[0].astype(np.float32)
    wanted, out = session.act(obs), np.zeros(3, np.float32)
    unaligned = np.zeros(21, np.uint8)[1:].view(np.float32)
    unaligned[:] = obs
    backwards = obs[::-1].copy()[::-1]
    for same in (obs.astype(np.float64), obs.tolist(), np.repeat(obs, 2)[::2], obs.astype(">f4"), unaligned, backwards):
        assert np.array_equal(session.act(same), wanted)
        session.act_into(same, out)
        assert np.array_equal(out, wanted)
    assert session.act(np.full(5, np.nan, np.float32)).shape == (3,)  # what NaN gives is the policy's business; it is no error
    session.close()


def test_an_action_is_never_written_twice_while_somebody_holds_it(opened, policy_of) -> None:
    """Arrays that were given out are used again; here people keep them, views of them, and bent ones, in random order."""
    policy = policy_of(seed=5)
    session, rng = opened(policy), np.random.default_rng(0)
    held: list[tuple[object, np.ndarray]] = []
    for step in range(3000):
        obs = policy.golden.obs[step % 100].astype(np.float32)
        action = session.act(obs)
        assert action.shape == (3,) and action.dtype == np.float32 and action.flags.carray and action.base is None
        kind = rng.integers(8)
        if kind < 4:
            hold = (action, action[1:], memoryview(action), [action, action.T])[kind]
            held.append((hold, np.array(hold[0] if kind == 3 else hold)))
        elif kind == 4:
            action.shape = (3, 1)
        elif kind == 5:
            action.flags.writeable = False
        elif kind == 6:
            action.resize(1, refcheck=False)
        del action
        if len(held) > 3:
            held.pop(int(rng.integers(len(held))))
        for hold, value in held:
            assert np.array_equal(np.array(hold[0] if isinstance(hold, list) else hold), value)
    session.close()


def test_actions_that_were_let_go_cost_no_new_array(opened, policy_of) -> None:
    policy = policy_of()
    session, obs = opened(policy), policy.golden.obs[0].astype(np.float32)
    seen = set()
    for _ in range(20):
        action = session.act(obs)  # the older one is held until this one takes its name
        seen.add(id(action))
    assert len(seen) == 2
    watched = weakref.ref(action)
    del action
    session.act(obs), session.act(obs)
    assert watched() is None  # nobody can meet an array again that he saw end
    session.close()


def test_a_call_costs_a_fraction_of_what_ctypes_takes(opened, policy_of) -> None:
    """The least of many short blocks, in turns: what else the machine does only ever adds."""
    policy = policy_of()
    fast, slow = opened(policy), opened(policy, "ctypes")
    obs, out, least = policy.golden.obs[0].astype(np.float32), np.zeros(3, np.float32), {}
    calls = {"act": lambda: fast.act(obs), "act_into": lambda: fast.act_into(obs, out), "ctypes": lambda: slow.act(obs)}
    for _ in range(100):
        for name, call in calls.items():
            begin = time.perf_counter_ns()
            for _ in range(50):
                call()
            least[name] = min(least.get(name, 10**9), time.perf_counter_ns() - begin)
    assert least["act"] < 0.5 * least["ctypes"] and least["act_into"] < 0.5 * least["ctypes"], least


def test_nothing_leaks(opened, policy_of) -> None:
    policy = policy_of()
    session, out = opened(policy), np.zeros(3, np.float32)
    obs, rows, types = policy.golden.obs[0].astype(np.float32), np.zeros((2, 5), np.float32), (np.dtype("f4"), np.dtype("i8"))

    def count() -> list[int]:
        return [sys.getrefcount(thing) for thing in (obs, out, rows, *types, None)]

    def use(session) -> None:
        session.act(obs), session.act(obs.tolist()), session.act_into(obs, out), session.act_batch(rows), session.reset()
        for call, arguments in ((session.act, (obs[:2],)), (session.act_into, (obs, obs)), (session.act_batch, (rows, out))):
            with pytest.raises(BadInput):
                call(*arguments)

    use(session)
    gc.collect()
    before = count()
    for _ in range(200):
        use(session)
    gc.collect()
    assert max(abs(a - b) for a, b in zip(count(), before, strict=True)) < 20
    watched = weakref.ref(session)
    del session
    assert watched() is None  # no cycle: the library goes with the last name, not at some collection


def test_sessions_of_one_artifact_act_at_once(opened, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own scratch memory: two threads without the lock do not disturb each other."""
    for name in ("RELEASE_AT", "RELEASE_BATCH_AT"):
        monkeypatch.setattr(c_session, name, 0.0)
    policy = policy_of(inputs=30, seed=6)
    sessions, results = [opened(policy) for _ in range(2)], [np.zeros(0), np.zeros(0)]
    rows = np.random.default_rng(0).normal(size=(2, 20_000, 30)).astype(np.float32)
    wanted = [sessions[0].act_batch(r) for r in rows]

    def work(k: int) -> None:
        results[k] = sessions[k].act_batch(rows[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(results, wanted, strict=True))
    for session in sessions:
        session.close()


def test_one_session_in_two_threads_is_refused_in_words(opened, policy_of) -> None:
    policy = policy_of(inputs=30)
    session, obs = opened(policy), np.zeros(30, np.float32)
    rows = np.zeros((1_000_000, 30), np.float32)
    thread = threading.Thread(target=session.act_batch, args=(rows,))
    thread.start()
    refusals = []
    while thread.is_alive() and len(refusals) < 3:
        for call in (lambda: session.act(obs), session.reset, session.close)[len(refusals) :][:1]:
            try:
                call()
            except RuntimeError as error:
                refusals.append(str(error))
    thread.join()
    assert len(refusals) == 3 and all("another thread" in said for said in refusals)
    session.act(obs)
    session.close()


# ---- what is loaded, and where there is nothing to load ----


def test_a_binding_that_was_changed_is_not_loaded(build, policy_of) -> None:
    artifact = build(policy_of(), "c")
    if c_binding.BINDING not in artifact.manifest.files:
        pytest.skip(artifact.manifest.tools["binding"])
    with (artifact.path / c_binding.BINDING).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(BadInput, match="sealed"):
        open_session(artifact)


@pytest.mark.parametrize("missing", ["Python.h", "NumPy"])
def test_without_headers_the_artifact_says_so_and_runs(build, policy_of, tmp_path, monkeypatch, missing: str) -> None:
    if missing == "NumPy":
        monkeypatch.setattr(c_binding.np, "get_include", lambda: str(tmp_path))
    else:
        monkeypatch.setattr(c_binding.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    artifact = build(policy_of(), "c")
    assert artifact.manifest.tools["binding"].startswith("none: ") and missing in artifact.manifest.tools["binding"]
    assert c_binding.BINDING not in artifact.manifest.files
    session = open_session(artifact)
    assert session.call_path.startswith("ctypes: ") and missing in session.call_path
    assert session.act(np.zeros(5, np.float32)).shape == (3,)
    session.close()


def test_a_compiler_that_refuses_leaves_ctypes(policy_of, build, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    from pilotfish.export.c import binding

    monkeypatch.setattr(binding, "FLAGS", (*binding.FLAGS, "-include", "no_such_header.h"))
    binding._compiled.cache_clear()
    artifact = build(policy_of(), "c")
    assert re.match(r"none: binding\.c does not compile here \(.+\)", artifact.manifest.tools["binding"])
    open_session(artifact).close()


@pytest.mark.parametrize(
    "interpreter, said",
    [
        (SimpleNamespace(implementation=SimpleNamespace(name="pypy"), abiflags=""), "pypy"),
        (SimpleNamespace(implementation=SimpleNamespace(name="cpython"), abiflags="t"), "free-threaded"),
    ],
)
def test_another_interpreter_calls_through_ctypes(build, policy_of, monkeypatch, interpreter, said: str) -> None:
    artifact = build(policy_of(), "c")
    if c_binding.BINDING not in artifact.manifest.files:
        pytest.skip(artifact.manifest.tools["binding"])
    monkeypatch.setattr(c_binding, "sys", interpreter)
    session = open_session(artifact)
    assert session.call_path.startswith("ctypes: ") and said in session.call_path
    session.close()


def test_zigs_clang_builds_it_too(policy_of, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    from pilotfish.export.c.binding import build_binding
    from pilotfish.export.c.toolchain import zig_compiler

    said = build_binding(tmp_path, zig_compiler())
    if said.startswith("none: ") and "not installed" in said:
        pytest.skip(said)
    assert said.startswith("CPython 3.11 or newer")
    assert c_binding._module((tmp_path / c_binding.BINDING).read_bytes()).Policy


# ---- names ----


def exported(path: Path) -> set[str]:
    """What a shared library defines for others to link to (as nm -D --defined-only)."""
    elftools = pytest.importorskip("elftools.elf.elffile")
    with path.open("rb") as stream:
        table = elftools.ELFFile(stream).get_section_by_name(".dynsym")
        return {symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name}


@pytest.mark.parametrize("name", ["step", "exp", "index", "regexec"])
def test_a_policy_named_like_a_function_of_libc(build, policy_of, name: str) -> None:
    policy = policy_of(seed=1)
    layers = (Linear(name, 5, 12), Activation("tanh"), Linear("main", 12, 3))
    weights = {key.replace("first", name).replace("last", "main"): value for key, value in policy.weights.items()}
    policy = policy.replace(name=name, layers=layers, weights=weights)
    artifact = build(policy, "c")
    assert exported(artifact.entry) <= {"policy_reset", "policy_step", "policy_sizes", "policy_time"}
    if c_binding.BINDING in artifact.manifest.files:
        assert exported(artifact.path / c_binding.BINDING) == {"PyInit_policy_binding"}
    session, libc = open_session(artifact), ctypes.CDLL(None)
    pattern = ctypes.create_string_buffer(256)  # a regex_t is 64 bytes in glibc
    assert libc.regcomp(pattern, b"(a|b)*c{2,3}", 1) == 0
    assert libc.regexec(pattern, b"abbacc", 0, None, 0) == 0 and libc.regexec(pattern, b"abbac", 0, None, 0) != 0
    libc.regfree(pattern)
    for obs in policy.golden.obs[:5]:
        np.testing.assert_allclose(session.act(obs), Reference(policy).act(obs), atol=2e-6)
    session.close()
