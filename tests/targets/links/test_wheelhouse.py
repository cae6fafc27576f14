"""A device's Python is given Pilotfish without internet, pip or venv there; by wheels that are fetched here."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pilotfish import __version__, sealed
from pilotfish.errors import MissingTool
from pilotfish.targets.links.open import open_link
from pilotfish.targets.links.wheelhouse import BASE, There, own_zip, platforms, requirements
from pilotfish.targets.reach import LocalLink


def said(**changes) -> str:
    facts = {"version": [3, 11, 2], "implementation": "cpython", "libc": "glibc 2.36", "bits": 64, "have": {"numpy": "2.0"}}
    return json.dumps(facts | changes)


def test_what_a_python_says_of_itself():
    there, why = There.read(said(), "python3")
    assert there == There("3.11.2", 64, (2, 36), {"numpy": "2.0"}) and not why
    assert There.read(said(libc=None), "python3")[0].glibc is None
    for told, expected in [
        (said(version=[3, 8, 10]), "python3 is 3.8.10, older than 3.11"),
        (said(implementation="pypy"), "pypy, not CPython"),
        ("sh: python3: not found", r"no python3 that answers \(sh: python3: not found\)"),
        (None, "no python3"),
        ("[]", "no python3"),
        ('{"version": "x"}', "no python3"),
        (said(have=[1]), "no python3"),
    ]:
        found, why = There.read(told, "python3")
        assert found is None and re.search(expected, why), (told, why)
    assert There.read(said(), "")[1] == "none was asked for"


def test_only_this_version_with_all_it_needs_counts_as_installed():
    have = dict.fromkeys(BASE, "1") | {"pilotfish": __version__}
    assert There("3.11.2", 64, None, have).has_pilotfish(())
    assert not There("3.11.2", 64, None, have).has_pilotfish(("ort",))
    assert not There("3.11.2", 64, None, have | {"pilotfish": "0.0.1"}).has_pilotfish(())
    assert not There("3.11.2", 64, None, have | {"numpy": None}).has_pilotfish(())


def test_platforms_are_those_whose_wheels_the_device_can_load():
    tags = platforms(There("3.11.2", 64, (2, 31), {}), "aarch64-linux")
    assert tags[0] == "manylinux_2_31_aarch64" and "manylinux_2_17_aarch64" in tags and "manylinux2014_aarch64" in tags
    assert not any("2_32" in tag or "x86" in tag for tag in tags)
    assert platforms(There("3.11.2", 64, None, {}), "x86_64-linux") == ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]
    assert platforms(There("3.11.2", 32, (2, 31), {}), "armv8l-linux")[-1] == "linux_armv7l"
    assert any(line.startswith("numpy>=") for line in requirements(())) and len(requirements(("ort",))) == len(BASE) + 1


def test_equal_sources_pack_into_equal_bytes_and_torch_stays_here():
    first = own_zip()
    assert first == own_zip()
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert "pilotfish/runtime/there.py" in names and "pilotfish/targets/profiles/host-cpu.toml" in names
    assert not [
        name for name in names if name.startswith(("pilotfish/train", "pilotfish/export", "pilotfish/tests")) or ".pyc" in name
    ]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """pip looks for wheels in a folder and nowhere else; in it, small ones with the names of the real ones."""
    pytest.importorskip("pip")
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in BASE:
        with zipfile.ZipFile(folder / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", f"where = {name!r}\n")
            wheel.writestr(f"{name}-99.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
            wheel.writestr(f"{name}-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-99.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("PILOTFISH_DEVICE_CACHE", str(tmp_path / "there"))
    return folder


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A python3 on the PATH with nothing installed."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return python


def test_wheels_are_fetched_here_once_and_unpacked_there_once(shelf, bare, tmp_path, monkeypatch):
    packed = own_zip()  # once: somebody may be editing the sources
    monkeypatch.setattr("pilotfish.targets.links.wheelhouse.own_zip", lambda: packed)
    told: list[str] = []
    link = open_link(LocalLink(), say=told.append)
    site = Path(link._site())
    assert told == [f"bringing Pilotfish and {', '.join(BASE)} to local"]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # from now on nothing can be fetched, and nothing has to be
    assert Path(link._site()) == site and len(told) == 1
    code = "import numpy, pilotfish; print(numpy.where, pilotfish.__version__, pilotfish.__file__)"
    answer = subprocess.run([bare, "-c", code], env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["numpy", __version__, str(site / "pilotfish" / "__init__.py")]
    assert not list((tmp_path / "there").glob("sites/*.new.*"))
    link.close()


def test_a_wheel_that_cannot_be_had_is_named_and_the_native_runner_does_without(shelf, bare, tmp_path):
    next(shelf.glob("numpy*")).unlink()
    told: list[str] = []
    link = open_link(LocalLink(), say=told.append)
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "runner").write_text("#!/bin/sh\necho it runs\n")
    assert link.device().python
    channel = link.channel(link.install(folder, sealed.manifest(folder)))
    assert channel.read(100, 10) == b"it runs\n"
    assert link.device().python is None and "pip found no wheels of numpy" in told[0] and "manylinux" in told[0]
    (folder / "runner").rename(folder / "other")
    with pytest.raises(MissingTool, match="pip found no wheels of numpy"):
        link.channel(link.install(folder, sealed.manifest(folder)))
    link.close()
