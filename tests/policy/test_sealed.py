"""Sealed folders: written whole or not at all, and a crash at any point leaves a complete result."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilotfish import sealed
from pilotfish.errors import BadInput
from pilotfish.figure import Figure


def write(path: Path, text: str) -> None:
    with sealed.replacing_folder(path) as folder:
        (folder / "a").write_text(text)


def test_an_exception_inside_keeps_the_earlier_folder(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write(path, "old")
    for error in (RuntimeError, KeyboardInterrupt, OSError):
        with pytest.raises(error), sealed.replacing_folder(path) as folder:
            (folder / "a").write_text("new")
            raise error("in the middle")
        assert (path / "a").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_replacement_leaves_nothing_of_the_earlier_folder(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with sealed.replacing_folder(path) as folder:
        (folder / "earlier").write_text("")
    write(path, "new")
    assert [p.name for p in path.iterdir()] == ["a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_keeps_the_earlier_folder(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls, rename = tmp_path / "x", [], os.rename
    write(path, "old")

    def breaking(a: object, b: object) -> None:
        calls.append(a)
        if len(calls) == failing:
            raise OSError("disk gone")
        rename(a, b)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", breaking)
    with pytest.raises(OSError, match="disk gone"):
        write(path, "new")
    assert (path / "a").read_text() == "old"


def test_a_process_killed_between_the_renames_is_recovered_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write(path, "old")
    child = os.fork()
    if child == 0:  # the second rename never happens, and nothing is cleaned up
        rename = os.rename
        calls: list[object] = []

        def dying(a: object, b: object) -> None:
            calls.append(a)
            if len(calls) == 2:
                os._exit(9)
            rename(a, b)  # type: ignore[arg-type]

        os.rename = dying  # type: ignore[assignment]
        write(path, "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not path.exists()
    sealed.recover_folder(path)
    assert (path / "a").read_text() == "old"
    write(path, "newer")
    assert (path / "a").read_text() == "newer"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "f.json"
    sealed.write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        sealed.write_atomic(path, "new")
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["f.json"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(BadInput, match="found a file"):
        write(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "mine"


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="leads out"):
        sealed.verify_manifest(tmp_path / "x", {"a": sealed.sha256_bytes(b"s")})


def test_json_is_read_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "j.json"
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b""):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="a manifest"):
            sealed.read_json(path, "a manifest")
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed.canonical_json({"a": float("nan")})
    assert sealed.canonical_json({"b": 1, "a": 2}) == sealed.canonical_json({"a": 2, "b": 1})


def test_a_figure_says_where_it_comes_from() -> None:
    assert Figure(5.4123, "us", "measured").text() == "5.41 us (measured)"
    assert Figure(65536, "bytes", "emulated").text() == "65,536 bytes (emulated)"
    assert "too few" in Figure(None, "us", "measured", note="too few samples").text()
    with pytest.raises(ValueError, match="guessed"):
        Figure(1.0, "us", "guessed")  # type: ignore[arg-type]
