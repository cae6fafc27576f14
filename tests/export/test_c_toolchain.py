"""Law: a compiler is found or named, its complaints are shown, and a stranger's profile cannot make it do more than compile."""

from __future__ import annotations

import dataclasses
import sys

import pytest

pytest.importorskip("onnx")

from pilotfish.errors import BadInput, MissingTool
from pilotfish.export.c import build, toolchain
from pilotfish.export.c.host import cpu_flags
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.layers import Linear
from pilotfish.targets import host
from pilotfish.targets.profile import load_target


@pytest.fixture(autouse=True)
def fresh_memory():
    toolchain._answering.cache_clear()
    toolchain._private_folder.cache_clear()
    yield
    toolchain._answering.cache_clear()
    toolchain._private_folder.cache_clear()


def with_flags(*flags, **changes):
    target = load_target("host-cpu")
    return dataclasses.replace(target, compile=dataclasses.replace(target.compile, flags=flags, **changes))


DANGEROUS = ("-ffast-math", "-Ofast", "-fplugin=evil.so", "@file", "-o", "/etc/passwd", "-wrapper", "-B.", "-specs=x")
DANGEROUS += ("-Wl,-T,x", "x.c", "-I/", "-mllvm", "-march=native -o x", "-O3\n-o")


@pytest.mark.parametrize("flag", DANGEROUS)
def test_flags_that_do_more_than_optimize_are_refused(flag):
    with pytest.raises(BadInput, match=r"compile\.flags") as caught:
        toolchain.checked_flags(with_flags("-O3", flag))
    assert repr(flag) in str(caught.value)


def test_flags_that_optimize_are_taken():
    flags = (
        "-O2",
        "-march=native",
        "-mcpu=cortex-a72",
        "-mprefer-vector-width=512",
        "-funroll-loops",
        "-mavx2",
        "-mno-fma",
        "-g0",
    )
    assert toolchain.checked_flags(with_flags(*flags)) == list(flags)


def test_a_triple_is_a_word():
    with pytest.raises(BadInput, match="triple"):
        toolchain.checked_flags(with_flags("-O3", triple="thumb -fplugin=x"))


def test_no_compiler_at_all_names_the_extra(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    for find in (toolchain.host_compiler, toolchain.zig_compiler):
        with pytest.raises(MissingTool, match=r"pilotfish\[export\]"):
            find()


def test_cc_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    with pytest.raises(MissingTool, match="no-such-compiler"):
        toolchain.host_compiler()


def test_what_the_compiler_said_is_shown(tmp_path):
    (tmp_path / "bad.c").write_text("int x = ;\n")
    compiler = toolchain.host_compiler()
    with pytest.raises(toolchain.CompileError, match=r"bad\.c:1.*") as caught:
        compiler.run(["-c", "bad.c"], tmp_path)
    assert caught.value.exit_code == 3


def test_a_compiler_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "TIMEOUT_S", 0.5)
    sleeper = toolchain.Compiler((sys.executable, "-c", "import time; time.sleep(60)"), "a slow compiler")
    with pytest.raises(toolchain.CompileError, match=r"a slow compiler did not end within 0\.5 s"):
        sleeper.run([], tmp_path)


def test_zig_stands_in_where_the_system_has_no_compiler(monkeypatch, tmp_path, make_policy):
    """Also with -march=native in the profile, which is a GCC spelling."""
    pytest.importorskip("ziglang")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    policy = make_policy([Linear("a", 3, 4)], 3, 4, 0)
    fields = build(policy, to_onnx(policy), load_target("host-cpu"), tmp_path)
    assert fields["tools"]["compiler"].startswith("zig ")
    assert set(fields["tools"]["cpu_flags"].split()) <= host.cpu_flags()
    assert (tmp_path / "policy.so").read_bytes()[:4] == b"\x7fELF"


def test_zig_gets_a_cache_where_home_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setattr(toolchain.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))  # a file: not even root can make a folder below it
    assert toolchain._zig_caches()["ZIG_GLOBAL_CACHE_DIR"].startswith(str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert toolchain._zig_caches() == {}


def test_a_private_cache_is_ours_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain.tempfile, "gettempdir", lambda: str(tmp_path))
    mine = toolchain._private_folder()
    assert mine.parent == tmp_path and mine.stat().st_mode & 0o077 == 0
    mine.chmod(0o777)  # as if somebody else had made it first
    toolchain._private_folder.cache_clear()
    assert toolchain._private_folder() != mine


def test_cpu_flags_are_those_of_this_machine_and_of_no_more(tmp_path):
    compiler = toolchain.host_compiler()
    native = set(cpu_flags(compiler, ["-march=native"], tmp_path))
    assert native <= host.cpu_flags()
    assert set(cpu_flags(compiler, [], tmp_path)) <= native
    if host.machine() == "x86_64-linux":
        assert {"avx2", "fma"} <= set(cpu_flags(compiler, ["-mavx2", "-mfma"], tmp_path))
        assert "avx2" not in cpu_flags(compiler, ["-msse2"], tmp_path)


def test_the_same_policy_gives_the_same_library(make_policy, tmp_path):
    policy = make_policy([Linear("a", 30, 40)], 30, 40, 0)
    binaries = []
    for name in ("one", "two/deeper"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        fields = build(policy, to_onnx(policy), load_target("host-cpu"), folder)
        binaries.append((folder / "policy.so").read_bytes())
    assert binaries[0] == binaries[1]
    assert str(tmp_path).encode() not in binaries[0]
    assert fields["entry"] == "policy.so" and fields["native"] and fields["machine"] == host.machine()
    assert fields["sizes"]["weights"] >= policy.weight_bytes


def test_an_mcpu_that_the_triple_does_not_have_is_refused(make_policy, tmp_path):
    target = load_target("crazyflie")
    target = dataclasses.replace(target, compile=dataclasses.replace(target.compile, triple="riscv32-freestanding"))
    policy = make_policy([Linear("a", 3, 4)], 3, 4, 0)
    with pytest.raises(BadInput, match="cortex_m4"):
        build(policy, to_onnx(policy), target, tmp_path)
