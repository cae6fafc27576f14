"""A real sshd on loopback under an account without rights, with several devices behind it, and a small artifact."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import pilotfish
from pilotfish import sealed
from pilotfish.policy.guard import GuardTable
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import Target, load_target
from pilotfish.targets.links.link import Link
from pilotfish.targets.links.open import open_link
from pilotfish.targets.reach import AgentLink, SshLink, parse_link

# The tests start programs under another account, by fork; gRPC's handlers of a fork, while an agent of the same process is at
# work, have ended such a child by a signal before it became sshd.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
ROOT = Path(pilotfish.__file__).resolve().parent
ACCOUNT = "pilotfish-test"
"""Where the tests run as root (containers do), sshd runs as this one; .ci/run makes it."""
MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass
class Devices:
    """What listens on loopback: one sshd, a port for each kind of device."""

    folder: Path
    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    user: str

    def url(self, device: str = "python", **query: str) -> str:
        query = {"key": str(self.folder / "key"), "known_hosts": str(self.folder / "known_hosts")} | query
        return f"ssh://{self.user}@127.0.0.1:{self.ports[device]}?" + "&".join(f"{k}={v}" for k, v in query.items())

    def cache(self, device: str = "python") -> Path:
        return self.folder / f"cache-{device}"

    def cut(self) -> int:
        """Kill every connection that is open, as a radio that goes out of reach does; how many there were."""
        psutil = pytest.importorskip("psutil")
        cut = 0
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name().startswith("sshd"):  # what it started lives on, as it would
                    child.kill()
                    cut += 1
        return cut


def _account() -> pwd.struct_passwd:
    if os.getuid():
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        pytest.skip(f"as root, sshd needs an account without rights: useradd --create-home --shell /bin/sh {ACCOUNT}")


def _python_for(account: pwd.struct_passwd, folder: Path) -> Path:
    """A folder for PATH with a python3 that has what the tests' own Python has, and that ``account`` may run."""
    places = [str(Path(np.__file__).parents[1]), str(folder / "packages")]
    (folder / "packages").mkdir()
    (folder / "packages" / "pilotfish").symlink_to(ROOT)
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "python3"
    said = ""
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{MINOR}", f"/usr/local/bin/{MINOR}"):
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={":".join(reversed(places))} exec {candidate} "$@"\n')
        wrapper.chmod(0o755)
        done = subprocess.run(
            [wrapper, "-c", "import numpy, pilotfish, pydantic"], cwd="/", capture_output=True, text=True, **as_account(account)
        )
        if done.returncode == 0:
            return folder / "bin"
        said = done.stderr[-200:]
    pytest.skip(f"{account.pw_name} can run no {MINOR} that reads {ROOT}: {said}")


def as_account(account: pwd.struct_passwd) -> dict[str, object]:
    """Arguments of subprocess that make a child of root one of ``account``'s."""
    return {} if os.getuid() else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def devices() -> Iterator[Devices]:
    """Devices by name. python: has Pilotfish. bare: has no Python. limited: may write no file over 20 blocks of 512 bytes.
    aarch64: like bare, another processor."""
    pytest.importorskip("asyncssh")
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    keygen = shutil.which("ssh-keygen")
    if server is None or keygen is None:
        pytest.skip("sshd is not installed (openssh-server)")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pilotfish-sshd-"))
    try:
        folder.chmod(0o755)
        tools = _python_for(account, folder)
        for name in ("key", "host", "other"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "key.pub", folder / "authorized")
        ports, sockets = {}, []
        for name in ("python", "bare", "limited", "aarch64"):
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
            ports[name] = sockets[-1].getsockname()[1]
            (folder / f"cache-{name}").mkdir()
        for each in sockets:
            each.close()
        known = "".join(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}" for port in ports.values())
        (folder / "known_hosts").write_text(known)
        (folder / "unknown_hosts").write_text("")
        (folder / "changed_hosts").write_text(
            known.replace((folder / "host.pub").read_text(), (folder / "other.pub").read_text())
        )
        bare = folder / "bare"
        bare.mkdir()
        wanted = (
            "sh",
            "cat",
            "cut",
            "sed",
            "tar",
            "sha256sum",
            "find",
            "rm",
            "mkdir",
            "mv",
            "ln",
            "cp",
            "chmod",
            "ls",
            "tail",
            "head",
        )
        for tool in (*wanted, "tr", "awk", "df", "uname", "grep", "touch", "sync", "mount", "sleep"):
            if found := shutil.which(tool):
                (bare / tool).symlink_to(found)

        (folder / "arm").mkdir()
        (folder / "arm" / "uname").write_text('#!/bin/sh\n[ "$1" = -m ] && echo aarch64 || exec /bin/uname "$@"\n')
        (folder / "arm" / "uname").chmod(0o755)

        def settings(name: str, path: Path) -> str:
            return f"  SetEnv PILOTFISH_DEVICE_CACHE={folder}/cache-{name} PATH={path}\n"

        config = (
            "".join(f"Port {port}\n" for port in ports.values())
            + f"ListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nAuthorizedKeysFile {folder}/authorized\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel ERROR\n"
            f"Match LocalPort {ports['python']}\n{settings('python', Path(f'{tools}:/usr/bin:/bin'))}"
            f"Match LocalPort {ports['bare']}\n{settings('bare', bare)}"
            f"Match LocalPort {ports['limited']}\n{settings('limited', Path(f'{tools}:/usr/bin:/bin'))}"
            '  ForceCommand ulimit -f 20; eval "$SSH_ORIGINAL_COMMAND"\n'
        )
        config += f"Match LocalPort {ports['aarch64']}\n{settings('aarch64', Path(f'{folder}/arm:{bare}'))}"
        # The runner's processor is emulated; all else there is this machine's.
        config += (
            '  ForceCommand eval "$(printf %s "$SSH_ORIGINAL_COMMAND" | '
            f"sed 's|exec ./runner|exec {shutil.which('qemu-aarch64') or 'qemu-aarch64'} ./runner|')\"\n"
        )
        (folder / "config").write_text(config)
        if not os.getuid():
            for path in (folder, *folder.glob("cache-*"), folder / "host", folder / "authorized", folder / "config"):
                os.chown(path, account.pw_uid, account.pw_gid)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([server, "-D", "-e", "-f", folder / "config"], stderr=log, **as_account(account))
            try:
                _answers(ports["python"], process, folder / "log")
                yield Devices(folder, process, ports, account.pw_name)
            finally:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    stop = time.monotonic() + 20
    while time.monotonic() < stop and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"sshd did not start: {log.read_text()[-500:]}")


TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """An agent of this machine that knows a token; its lease is short."""
    pytest.importorskip("grpc")
    from pilotfish.targets.links.agent_server import Agent, AgentSettings

    folder = tmp_path_factory.mktemp("agent")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "token").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PILOTFISH_DEVICE_CACHE", "")  # the agent sets its own; this puts back what was there
        running = Agent(AgentSettings("127.0.0.1:0", TOKEN, cache=folder / "cache", lease_s=0.3))
        running.token_file = folder / "token"
        yield running
        running.close()


@pytest.fixture
def over(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Link]]:
    """``over(kind, device)`` -> a link to one of the devices; "local" is this machine with a cache of the test's own."""
    opened: list[Link] = []

    def make(kind: str, device: str = "python", said: list[str] | None = None, **query: str) -> Link:
        say = (lambda _: None) if said is None else said.append
        if kind == "agent":
            agent = request.getfixturevalue("agent")
            monkeypatch.setenv("PILOTFISH_DEVICE_CACHE", agent.cache)
            link = open_link(AgentLink(agent.address, token_file=str(agent.token_file)), say=say)
            link._python = "python3" if device == "python" else ""
            opened.append(link)
            return link
        devices = request.getfixturevalue("devices")
        if kind == "local":
            monkeypatch.setenv("PILOTFISH_DEVICE_CACHE", str(tmp_path / "cache"))
            path = devices.folder / "bare" if device == "bare" else f"{devices.folder / 'bin'}:/usr/bin:/bin"
            monkeypatch.setenv("PATH", str(path))
            opened.append(open_link(parse_link("local:"), say=say))
        else:
            opened.append(open_link(parse_link(devices.url(device, **query)), say=say))
        return opened[-1]

    yield make
    for link in opened:
        link.close()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, str]]]:
    """``folder(a=b"…", **{"b/c": b"…"})`` -> a folder of these files, and its list."""

    def make(**content: bytes) -> tuple[Path, dict[str, str]]:
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, data in content.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return place, sealed.manifest(place)

    return make


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small C artifact for this machine, and the list of its files."""
    return _exported(load_target("host-cpu"), tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """``native(device)`` -> the same policy with a native runner for that device; ``guard``: behind this one."""
    made: dict[str, Artifact] = {}

    def make(device: str, guard: GuardTable | None = None) -> Artifact:
        key = f"{device} {guard}"
        if key not in made:
            target = load_target("raspberry-pi-5" if device == "aarch64" else "host-cpu")
            target = dataclasses.replace(target, name=f"test-{device}", link=SshLink(host="127.0.0.1"))
            made[key] = _exported(target, tmp_path_factory.mktemp("dist"), guard)
        return made[key]

    return make


def _exported(target: Target, folder: Path, guard: GuardTable | None = None) -> Artifact:
    from pilotfish.errors import MissingTool
    from pilotfish.export.build import export_policy

    pytest.importorskip("onnx")
    try:
        built = export_policy(small_policy(env="Pendulum-v1", inputs=3, outputs=1), target, "c", folder, guard=guard)
    except MissingTool as error:
        pytest.skip(str(error))
    built.listed = {**built.manifest.files, "artifact.json": built.digest}
    return built


def small_policy(name: str = "small", env: str | None = None, inputs: int = 5, outputs: int = 3) -> pilotfish.policy.Policy:
    """A random network of two layers with a golden rollout of 120 decisions by the plain reference."""
    from pilotfish.policy import Action, Contract, Golden, Observation, Policy, Provenance
    from pilotfish.policy.layers import Activation, Linear
    from pilotfish.policy.reference import Reference

    generator = np.random.default_rng(0)
    layers = (Linear("first", inputs, 16), Activation("tanh"), Linear("last", 16, outputs))
    shapes = {"first.weight": (16, inputs), "first.bias": (16,), "last.weight": (outputs, 16), "last.bias": (outputs,)}
    weights = {key: (generator.standard_normal(shape) / 4).astype(np.float32) for key, shape in shapes.items()}
    action = Action("continuous", outputs, low=(-2.0,) * outputs, high=(2.0,) * outputs)
    policy = Policy(name, Contract(Observation(inputs), action, provenance=Provenance(env=env)), layers, weights)
    obs = generator.standard_normal((120, inputs)).astype(np.float32)
    reference = Reference(policy)
    golden = Golden(
        obs,
        np.stack([reference.act(row) for row in obs]),
        np.zeros((120, 0), np.float32),
        np.arange(120) == 0,
        "random observations",
    )
    return policy.replace(golden=golden)
