"""SSH as it goes wrong: strange keys, connections that break, a device without room."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pilotfish.errors import BadInput, PilotfishError, Unreachable
from pilotfish.targets.links.host_keys import BadHostKey
from pilotfish.targets.links.link import DeviceFull, Dropped
from pilotfish.targets.links.open import open_link
from pilotfish.targets.reach import SshLink


def pasted(text: str, folder: Path, start: str) -> str:
    """Runs the command at the end of an error message, as a user who says yes to ssh's question; what it said."""
    answer = folder / "yes"
    answer.write_text("#!/bin/sh\necho yes\n")
    answer.chmod(0o755)
    command = text[text.index(start) :]
    asked = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    done = subprocess.run(["sh", "-c", command], env=os.environ | asked, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stderr


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_repair(over, devices, tmp_path):
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", devices.folder / "host.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    known = tmp_path / "hosts_of_mine"
    for file in (devices.folder / "unknown_hosts", known):
        with pytest.raises(BadHostKey, match="is unknown, and nothing was sent") as caught:
            over("ssh", known_hosts=str(file)).device()
        assert fingerprint in str(caught.value) and f"ssh -p {devices.ports['python']} " in str(caught.value)
        assert caught.value.exit_code == 3
    pasted(str(caught.value), tmp_path, f"ssh -p {devices.ports['python']}")
    assert over("ssh", known_hosts=str(known)).device().python


def test_a_changed_host_key_is_refused_as_one_and_can_be_forgotten(over, devices, tmp_path):
    known = tmp_path / "changed_hosts"
    known.write_text((devices.folder / "changed_hosts").read_text())
    with pytest.raises(BadHostKey, match=r"is not the one in .*changed_hosts.*ssh-keygen -f .* -R '\[127.0.0.1\]:") as caught:
        over("ssh", known_hosts=str(known)).device()
    pasted(str(caught.value), tmp_path, "ssh-keygen")
    assert over("ssh", known_hosts=str(known)).device().python


def test_the_repair_goes_through_the_jump_host(over, devices, tmp_path):
    jump, port = f"{devices.user}@127.0.0.1:{devices.ports['bare']}", devices.ports["python"]
    lines = (devices.folder / "known_hosts").read_text().splitlines(keepends=True)
    known = tmp_path / "known_hosts"
    known.write_text("".join(line for line in lines if f":{port} " not in line))
    with pytest.raises(BadHostKey, match=f":{port}: .* is unknown") as caught:
        over("ssh", jump=jump, known_hosts=str(known)).device()
    pasted(str(caught.value), tmp_path, "ssh -o 'ProxyCommand")
    assert over("ssh", jump=jump, known_hosts=str(known)).device().python


def test_a_jump_host_is_gone_through_and_its_key_checked(over, devices):
    jump = f"{devices.user}@127.0.0.1:{devices.ports['bare']}"
    assert over("ssh", jump=jump).device().python
    known = (devices.folder / "known_hosts").read_text().splitlines(keepends=True)
    only = devices.folder / "without_the_jump"
    only.write_text("".join(line for line in known if f":{devices.ports['bare']} " not in line))
    with pytest.raises(BadHostKey, match=f"{devices.ports['bare']}"):
        over("ssh", jump=jump, known_hosts=str(only)).device()


def test_a_wrong_key_is_not_let_in_and_nobody_is_asked_for_a_password(over, devices):
    with pytest.raises(Unreachable, match=r"not let in: .*ssh-copy-id"):
        over("ssh", key=str(devices.folder / "other")).device()
    with pytest.raises(BadInput, match="private key"):
        over("ssh", key=str(devices.folder / "known_hosts")).device()


def test_a_port_where_nobody_listens(devices):
    link = open_link(SshLink(host="127.0.0.1", port=1, user="pi", known_hosts=str(devices.folder / "known_hosts")))
    with pytest.raises(Unreachable, match=r"does not answer: .*Try by hand: ssh -p 1 pi@127.0.0.1 true"):
        link.device()


def test_a_connection_killed_in_the_middle_of_a_run_begins_it_again_and_reports_one_whole_result(over, devices, artifact):
    psutil = pytest.importorskip("psutil")
    said: list[str] = []
    link = over("ssh", said=said)
    installed = link.install(artifact.path, artifact.listed)
    told: list[tuple[int, int]] = []
    first: list[int] = []

    def running() -> list[int]:
        found = psutil.process_iter(["cmdline", "cwd"])
        return [
            p.pid for p in found if "pilotfish.runtime.there" in (p.info["cmdline"] or ()) and p.info["cwd"] == installed.where
        ]

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if not first:
            first.extend(running())
            assert devices.cut() >= 1

    result = link.run(installed, "bench", {"trust": True, "calls": 2000, "paced_seconds": 0.8}, progress)
    assert "trying again" in said[0]
    begun, total = told[0]
    assert begun < total and told[-1] == (total, total) and len([t for t in told if t[0] == begun]) >= 2  # it ran twice
    assert result["figures"]["tight_p50_us"]["samples"] == 2000
    assert len(first) == 1 and first[0] not in running()  # what had lost its host did not go on


def test_a_connection_killed_while_files_are_carried_leaves_nothing_half(over, devices, folder):
    said: list[str] = []
    link = over("ssh", said=said)
    content = {f"file{k}": os.urandom(1 << 19) for k in range(24)}
    place, files = folder(**content)
    link.device()
    cut = threading.Timer(0.12, devices.cut)
    cut.start()
    installed = link.install(place, files)
    cut.join()
    cache = Path(installed.where).parents[1]
    stop = time.monotonic() + 10  # the shell of the broken try still cleans up
    while list(cache.glob("incoming.*")) and time.monotonic() < stop:
        time.sleep(0.05)
    assert not list(cache.glob("incoming.*"))
    assert all((Path(installed.where) / name).read_bytes() == data for name, data in content.items())


def test_a_channel_whose_connection_is_killed_says_dropped(over, devices, folder):
    link = over("ssh", "bare")
    channel = link.channel(link.install(*folder(runner=b"#!/bin/sh\nexec cat\n")))
    channel.write(b"hello")
    assert channel.read(100, 10) == b"hello"
    devices.cut()
    with pytest.raises(Dropped):
        for _ in range(100):
            channel.write(b"x" * 1000)
            channel.read(100, 0.1)
    assert link.install(*folder(runner=b"again")).sent_bytes == 5  # the link itself connects anew


def test_a_device_without_room_is_an_error_and_nothing_half_is_left(over, devices, folder):
    link = over("ssh", "limited")
    place, files = folder(small=b"fits", large=os.urandom(300_000))
    with pytest.raises(DeviceFull, match="no room") as caught:
        link.install(place, files)
    assert "Free some space" in str(caught.value) and caught.value.exit_code == 3
    cache = devices.cache("limited")
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert link.install(*folder(small=b"fits")).sent_bytes == 4


def test_a_full_disk_is_an_error_and_nothing_half_is_left(over, devices, folder):
    mount, umount = "/bin/mount", "/bin/umount"
    cache = devices.cache("bare")
    tiny = subprocess.run([mount, "-t", "tmpfs", "-o", "size=200k,mode=1777", "tmpfs", cache], capture_output=True, check=False)
    if tiny.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        link = over("ssh", "bare")
        with pytest.raises(DeviceFull, match="no room"):
            link.install(*folder(small=b"fits", large=os.urandom(300_000)))
        assert not [path for path in cache.rglob("*") if path.is_file()]
        assert link.install(*folder(small=b"fits")).sent_bytes == 4
        link.close()
    finally:
        subprocess.run([umount, "-l", cache], check=True)


def test_no_error_of_a_link_is_a_traceback(over, devices):
    with pytest.raises(PilotfishError):
        over("ssh", jump="user@:x").device()
