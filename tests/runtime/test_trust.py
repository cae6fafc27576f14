"""Law: machine code runs only if it was built here or the user named it; the refusal says how to inspect and how to trust."""

import os
import stat
from pathlib import Path

import pytest

from pilotfish import sealed
from pilotfish.errors import BadInput, Untrusted
from pilotfish.runtime import trust
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.open import open_session


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PILOTFISH_TRUST", raising=False)
    return tmp_path / "home"


@pytest.fixture
def stranger(build, policy_of, home: Path) -> Artifact:
    """A C artifact that somebody else built: this user's ledger does not know it."""
    artifact = build(policy_of(), "c")
    (home / trust.LEDGER).unlink()
    return artifact


def test_built_here_runs(build, policy_of, home: Path) -> None:
    artifact = build(policy_of(), "c")
    open_session(artifact).close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    lines = (home / trust.LEDGER).read_text()
    trust.remember(artifact)
    assert (home / trust.LEDGER).read_text() == lines and lines.startswith(artifact.digest)


def test_a_strangers_code_is_refused_in_words(stranger: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Untrusted) as refusal:
        open_session(stranger)
    words = str(refusal.value)
    assert f"pilotfish export {stranger.path / 'source.policy'} -t host-cpu --backend c" in words
    assert "--trust" in words and f"PILOTFISH_TRUST={stranger.digest[:16]}" in words
    open_session(stranger, trust=True).close()
    monkeypatch.setenv("PILOTFISH_TRUST", f"{'0' * 16}, {stranger.digest[:20]}")
    open_session(stranger).close()


def test_a_manifest_that_denies_being_native_changes_nothing(stranger: Artifact) -> None:
    path = stranger.path / "artifact.json"
    text = path.read_text().replace('"native": true', '"native": false')
    path.write_text(text)
    again = Artifact.load(stranger.path)
    assert not again.manifest.native
    with pytest.raises(Untrusted):
        open_session(again)


def test_another_digest_is_not_trusted(stranger: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTFISH_TRUST", "f" * 64)
    with pytest.raises(Untrusted):
        open_session(stranger)


@pytest.mark.parametrize("value", ["abc", "1234567890abcde", "../../etc/passwd/........", "*"])
def test_short_or_senseless_prefixes_are_refused(stranger: Artifact, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PILOTFISH_TRUST", value)
    with pytest.raises(BadInput, match="16 to 64 hexadecimal"):
        open_session(stranger)


def test_a_changed_library_is_refused_even_if_trusted(build, policy_of) -> None:
    artifact = build(policy_of(), "c")
    with artifact.entry.open("ab") as stream:
        stream.write(b"evil")
    with pytest.raises(BadInput, match="sha256"):
        Artifact.load(artifact.path)
    # ... and so is one that changed after it was loaded.
    with pytest.raises(BadInput, match="sealed"):
        open_session(artifact, trust=True)


def test_a_resealed_change_is_a_stranger(build, policy_of) -> None:
    artifact = build(policy_of(), "c")
    with artifact.entry.open("ab") as stream:
        stream.write(b"evil")
    manifest = artifact.path / "artifact.json"
    before = artifact.manifest.files[artifact.manifest.entry]
    manifest.write_text(manifest.read_text().replace(before, sealed.sha256_file(artifact.entry)))
    with pytest.raises(Untrusted):
        open_session(Artifact.load(artifact.path))


def test_a_ledger_that_others_can_write_is_not_believed(stranger: Artifact, home: Path) -> None:
    (home / trust.LEDGER).write_text(f"{stranger.digest} 2026-01-01 x\n")
    assert trust.is_trusted(stranger)
    (home / trust.LEDGER).chmod(0o666)
    with pytest.warns(UserWarning, match="other users"):
        assert not trust.is_trusted(stranger)


def test_no_place_to_write_warns_and_trust_still_works(
    stranger: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="PILOTFISH_HOME"):
        assert trust.remember(stranger) is False
    open_session(stranger, trust=True).close()


def test_state_folder_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust.state_folder() == Path(os.environ["PILOTFISH_HOME"])
    monkeypatch.delenv("PILOTFISH_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert trust.state_folder() == tmp_path / "state" / "pilotfish"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert trust.state_folder() == tmp_path / ".local" / "state" / "pilotfish"


def test_onnx_and_firmware_need_no_trust(build, policy_of, home: Path) -> None:
    artifact = build(policy_of(), "onnxruntime")
    (home / trust.LEDGER).unlink()
    open_session(artifact).close()
