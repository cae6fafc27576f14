"""What every link keeps: the same few functions, whatever lies between here and the device."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from pilotfish import sealed
from pilotfish.errors import BadInput, MissingTool
from pilotfish.targets.links.link import Ended, checked_files
from pilotfish.targets.links.steps import Told

KINDS = ["local", "ssh", "agent"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_says_what_it_reaches(over, kind):
    device = over(kind).device()
    assert device.machine == f"{platform.machine()}-linux" and device.facts["kernel"] == platform.release()
    assert device.python.startswith(".".join(platform.python_version_tuple()[:2])) and device.free_bytes > 0 and device.name
    bare = over(kind, "bare").device()
    assert bare.python is None and ("python3" in bare.why or kind == "agent") and bare.machine == device.machine


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_changed_is_carried_and_a_folder_appears_whole(over, folder, kind):
    link = over(kind)
    names = {"policy.c": b"int x;\n" * 500, "deep/er/weights.bin": bytes(range(256)) * 40, "with space": b"a"}
    place, files = folder(**names)
    first = link.install(place, files)
    assert first.sent_bytes == sum(map(len, names.values())) and first.files == set(files)
    assert {name: (Path(first.where) / name).read_bytes() for name in names} == names if os.access(first.where, os.R_OK) else True
    assert link.install(place, files).sent_bytes == 0
    (place / "policy.c").write_bytes(b"int y;\n")
    again = link.install(place, {**files, "policy.c": sealed.sha256_bytes(b"int y;\n")})
    assert again.sent_bytes == 7 and again.where != first.where
    with pytest.raises(BadInput, match="plain relative paths"):
        link.install(place, {"../policy.c": files["policy.c"]})


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_damaged_there_is_sent_again(over, folder, kind):
    link = over(kind)
    place, files = folder(one=b"one" * 100, two=b"two" * 100)
    where = Path(link.install(place, files).where)
    cache = where.parents[1]
    for victim in (where / "one", cache / "blobs" / files["two"]):
        victim.chmod(0o644)
        victim.write_bytes(b"rotten")
    healed = link.install(place, files)
    assert (Path(healed.where) / "one").read_bytes() == b"one" * 100 and (Path(healed.where) / "two").read_bytes() == b"two" * 100
    assert not list(cache.glob("incoming.*")) and not list(cache.glob("folders/*.new.*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_carries_bytes_both_ways_and_says_when_it_ends(over, folder, kind):
    link = over(kind, "bare")
    place, files = folder(runner=b"#!/bin/sh\nhead -c 100000\nread last; echo bye >&2; exit 7\n")
    channel = link.channel(link.install(place, files))
    assert channel.read(10, 0.01) == b""
    sent = os.urandom(100_000)
    channel.write(sent[:60_000])
    channel.write(sent[60_000:])
    got = b""
    while len(got) < len(sent):
        piece = channel.read(1000, 10)
        assert 0 < len(piece) <= 1000
        got += piece
    assert got == sent
    channel.write(b"end\n")
    with pytest.raises(Ended, match=r"exit code 7: bye"):
        channel.read(10, 10)
    channel.close()
    channel.close()
    with pytest.raises(MissingTool, match=r"no Python.*no native runner"):
        link.channel(link.install(*folder(other=b"x")))


@pytest.mark.parametrize("kind", ["local", "agent"])  # over ssh: test_flow.py
def test_a_step_runs_there_and_its_result_comes_back(over, artifact, kind):
    link = over(kind)
    installed = link.install(artifact.path, artifact.listed)
    told: list[tuple[int, int]] = []
    result = link.run(installed, "verify", {"trust": True}, lambda *numbers: told.append(numbers))
    assert result["passed"] and told[-1][0] == told[-1][1] > 0
    assert not (Path(installed.where) / "results").exists()


def test_an_error_there_comes_back_as_it_is(over, artifact):
    link = over("local")
    with pytest.raises(Told, match="machine code") as caught:
        link.run(link.install(artifact.path, artifact.listed), "verify", {})
    assert caught.value.exit_code == 2 and caught.value.kind == "Untrusted"


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b", "..", "a\nb", "-rf", "", "a//b", "./a", "a\0", "$(x)", "a`b`"])
def test_no_path_leaves_the_folder(path):
    if path == "-rf":
        assert checked_files({path: "0" * 64})  # harmless: it is never an argument of its own
        return
    with pytest.raises(BadInput):
        checked_files({path: "0" * 64})
    with pytest.raises(BadInput):
        checked_files({"a": path})
