"""An agent lets in who has the key, takes orders that it knows, serves one job at a time, and survives all else."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pilotfish.errors import BadInput, PilotfishError, Unreachable
from pilotfish.targets.links.agent_orders import (
    CLIENT,
    MAX_MESSAGE_BYTES,
    METHOD,
    TOKEN,
    Answer,
    Asked,
    Refused,
    checked_order,
    message,
    parsed,
    told,
)
from pilotfish.targets.links.agent_turns import Busy, Turns
from pilotfish.targets.links.open import open_link
from pilotfish.targets.links.scripts import TEXTS
from pilotfish.targets.reach import AgentLink

grpc = pytest.importorskip("grpc")
from pilotfish.targets.links.agent_server import Agent, AgentSettings, is_loopback  # noqa: E402

KEY = "0123456789abcdef0123456789abcdef"
HEX = "ab" * 32
CACHE = "/home/pi/.cache/pilotfish"
FOLDER = f"{CACHE}/folders/{HEX}"


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_missing_or_wrong_key_is_refused(agent, tmp_path, monkeypatch):
    monkeypatch.delenv("PILOTFISH_AGENT_TOKEN_FILE", raising=False)
    with pytest.raises(Unreachable, match=r"not let in \(no token\).*token_file"):
        open_link(AgentLink(agent.address)).device()
    wrong = written(tmp_path / "wrong", KEY[:-1] + "0")
    with pytest.raises(Unreachable, match=r"not let in \(wrong token\)"):
        open_link(AgentLink(agent.address, token_file=wrong)).device()
    for text, mode, said in (
        (KEY, 0o644, "chmod 600"),
        ("", 0o600, "printable"),
        ("a\nb", 0o600, "printable"),
        ("é" * 20, 0o600, "ASCII"),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            open_link(AgentLink(agent.address, token_file=written(tmp_path / "token", text, mode)))
        assert KEY not in str(caught.value)
    with pytest.raises(BadInput, match="no-such-file"):
        open_link(AgentLink(agent.address, token_file="/no-such-file"))


def test_it_does_not_open_itself_to_others(tmp_path):
    for wrong, said in [
        ({"address": "0.0.0.0:1", "token": KEY}, "127.0.0.1, or TLS"),
        ({"address": "lab:1", "token": KEY}, "127.0.0.1, or TLS"),
        ({"token": ""}, "a token or a client authority"),
        ({"token": "short"}, "at least 16"),
        ({"token": KEY, "certificate": Path("a.pem")}, "together"),
        ({"clients": Path("a.pem")}, "together"),
    ]:
        with pytest.raises(BadInput, match=said):
            AgentSettings(**wrong)
    assert is_loopback("127.0.0.1:1") and is_loopback("[::1]:1") and is_loopback("localhost:1")
    assert not is_loopback("10.0.0.1:1") and not is_loopback("localhost.evil.example:1") and not is_loopback("127.0.0.1.evil:1")
    with pytest.raises(BadInput, match="must not travel in the open"):
        open_link(AgentLink("lab:7788", token_file=written(tmp_path / "token", KEY)))


def stream(agent, *messages: bytes, metadata=None, hold: threading.Event | None = None):
    """The raw protocol: a call that sends these messages."""

    def requests():
        yield from messages
        if hold is not None:
            hold.wait(20)

    channel = grpc.insecure_channel(agent.address)
    known = [(TOKEN, f"Bearer {KEY}"), (CLIENT, "0" * 32)] if metadata is None else metadata
    return channel.stream_stream(METHOD)(requests(), metadata=known, timeout=20)


def code_of(call) -> grpc.StatusCode:
    try:
        list(call)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_an_oversized_message_is_refused_and_the_agent_goes_on(agent, over):
    order = told(Asked.ORDER, name="missing", words=[])
    assert code_of(stream(agent, b"\0" + b"x" * MAX_MESSAGE_BYTES)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_of(stream(agent, order, message(Asked.DATA, b"x" * MAX_MESSAGE_BYTES))) in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.OK,  # cut off there, and the order came to its end without it
    )
    assert code_of(stream(agent, order, metadata=[(TOKEN, f"Bearer {KEY}")])) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(stream(agent, order, metadata=[(CLIENT, "0" * 32)])) is grpc.StatusCode.UNAUTHENTICATED
    assert code_of(stream(agent)) is grpc.StatusCode.INVALID_ARGUMENT
    assert over("agent").device().name


def test_a_second_job_is_refused_or_waits_its_turn(agent, over, folder):
    first, said = over("agent", "bare"), []
    second = over("agent", "bare", said=said)
    place, files = folder(runner=b"#!/bin/sh\nexec cat\n")
    installed = first.install(place, files)
    job = first.channel(installed)
    assert code_of(stream(agent, told(Asked.ORDER, name="missing", words=[], wait_s=0))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert second.device().name  # reading what it is needs no turn
    done: list[float] = []
    waiting = threading.Thread(target=lambda: (second.install(place, files), done.append(time.monotonic())))
    waiting.start()
    time.sleep(0.5)
    assert not done
    job.write(b"still mine")
    assert job.read(100, 10) == b"still mine"
    job.close()
    ended = time.monotonic()
    assert first.install(place, files).sent_bytes == 0  # within its lease the first user comes before the one who waits
    first.close()
    waiting.join(20)
    assert done and done[0] > ended and "another job has the device; 1 before this one" in said[0]


def test_what_a_host_started_ends_when_the_host_is_gone(agent, over, folder):
    link = over("agent", "bare")
    mark = Path(agent.cache) / "alive"
    beat = f"#!/bin/sh\nwhile :; do date +%s%N > '{mark}'; sleep 0.05; done\n".encode()
    channel = link.channel(link.install(*folder(runner=beat)))
    stop = time.monotonic() + 10
    while not mark.exists() and time.monotonic() < stop:
        time.sleep(0.02)
    channel.close()
    stop, last = time.monotonic() + 20, None
    while last != (last := mark.read_text()):  # still for ten of its beats
        assert time.monotonic() < stop, "what a host started outlives its host"
        time.sleep(0.5)


def test_turns_come_in_order_and_a_lease_keeps_the_device():
    now = [0.0]
    turns = Turns(lease_s=10, max_waiting=3, clock=lambda: now[0])
    a = turns.ask("a")
    assert turns.granted(a, 0) == 0
    b, again, c = turns.ask("b"), turns.ask("a"), turns.ask("c")
    with pytest.raises(Busy, match="3 jobs"):
        turns.ask("d")
    assert [turns.granted(each, 0) for each in (b, again, c)] == [2, 1, 3]  # the holder's next job comes first
    turns.leave(a)
    assert turns.granted(b, 0) == 2 and turns.granted(again, 0) == 0
    turns.leave(again)
    assert turns.granted(b, 0) == 1 and turns.granted(c, 0) == 2  # nobody runs, and the lease is a's
    now[0] = 10.5
    assert turns.granted(c, 0) == 1 and turns.granted(b, 0) == 0
    turns.leave(b)
    turns.release("c")
    assert turns.granted(c, 0) == 1  # only its holder lets a lease go
    turns.release("b")
    assert turns.granted(c, 0) == 0
    turns.leave(turns.ask("d"))
    turns.leave(c)


GOOD = [
    {"name": "facts", "words": ["python3", ["numpy"]], "wait_s": 0},
    {"name": "missing", "words": []},
    {"name": "put", "words": [], "wait_s": 3.5},
    {"name": "assemble", "words": [HEX]},
    {"name": "unpack", "words": [HEX, FOLDER, "python3"]},
    {"name": "module", "words": ["runtime.there", [], "python3", "", FOLDER]},
    {"name": "module", "words": ["runtime.serve", [FOLDER, "--trust"], "x", f"{CACHE}/sites/{HEX}", FOLDER]},
    {"name": "program", "words": [FOLDER, "runner", ["--pin", "3"]]},
]  # fmt: skip


@pytest.mark.parametrize("fields", GOOD, ids=lambda fields: fields["name"])
def test_known_orders_are_taken_with_the_agents_own_python(fields):
    order, wait_s = checked_order(told(Asked.ORDER, **fields), CACHE, "/own/python")
    assert order.name == fields["name"] and wait_s == fields.get("wait_s", 0) and order.name in TEXTS
    assert "python3" not in order.words and isinstance(order.text, str)


@pytest.mark.parametrize(
    "name, words",
    [
        ("module", ["os", [], "p", "", FOLDER]),
        ("module", ["runtime.there", ["-c", "x"], "p", "", FOLDER]),
        ("module", ["runtime.there", [], "p", "/evil", FOLDER]),
        ("module", ["runtime.there", [], "p", "", f"{CACHE}/folders/../../x"]),
        ("program", [f"{CACHE}/folders/{HEX}/..", "runner", []]),
        ("program", [FOLDER, "../../bin/sh", []]),
        ("program", [FOLDER, "runner", ["--pin", "$(id)"]]),
        ("assemble", ["x; rm -rf /"]),
        ("assemble", [HEX + "\n"]),
        ("assemble", []),
        ("facts", ["p", ["a; id"]]),
        ("facts", ["p", "numpy"]),
        ("unpack", [HEX, "/etc", "p"]),
        ("sh", ["id"]),
        ("__init__", []),
    ],
)
def test_no_other_order_is_taken(name, words):
    with pytest.raises(Refused):
        checked_order(told(Asked.ORDER, name=name, words=words), CACHE, "p")


def test_a_hundred_thousand_broken_messages_are_each_refused_or_an_order(agent, over):
    chance = random.Random(8)
    whole = [told(Asked.ORDER, **fields) for fields in GOOD]
    taken = refused = 0
    for _ in range(100_000):
        data = bytearray(whole[int(chance.random() * len(whole))])
        for _ in range(int(chance.random() * 4)):
            kind, at = chance.random(), int(chance.random() * len(data))
            if kind < 0.4 and data:
                data[at] ^= 1 << int(chance.random() * 8)
            elif kind < 0.6:
                data[at:at] = chance.randbytes(3)
            elif kind < 0.8:
                del data[at : at + int(chance.random() * 12)]
            else:
                data[at:at] = data[: int(chance.random() * 40)]
        try:
            order, wait_s = checked_order(bytes(data), CACHE, "/own/python")
        except Refused:
            refused += 1
            continue
        taken += 1
        assert 0 <= wait_s <= 86_400
        assert all("'" not in word and "\n" not in word for word in order.words if isinstance(word, str))
    assert taken + refused == 100_000 and taken > 10_000 and refused > 10_000
    # The same over the line, as many as take a second or two: the agent answers each, and goes on.
    for data in (bytes(chance.randbytes(chance.randrange(200))) for _ in range(60)):
        assert code_of(stream(agent, data)) in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK)
    assert over("agent").device().name


def test_answers_are_parsed_or_refused():
    assert parsed(json.dumps({"status": 0}).encode()) == {"status": 0}
    for data in (b"", b"[]", b"\xff", b"[" * 100_000, b"1", b"nan"):
        with pytest.raises(Refused):
            parsed(data)
    assert message(Answer.OUTPUT, b"x") == b"\0x"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a certificate for 127.0.0.1, one for a client, and one that a stranger made."""
    folder = tmp_path_factory.mktemp("certificates")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority in ("lab", "stranger"):
        made = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        openssl("req", "-x509", *new, "-days", "2", "-subj", f"/CN={authority}", *made)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority in (("agent", "lab"), ("user", "lab"), ("thief", "stranger")):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", "2", "-extfile", "names")
    return folder


def test_a_client_certificate_opens_and_no_other_does(certificates, tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTFISH_DEVICE_CACHE", "")
    monkeypatch.delenv("PILOTFISH_AGENT_TOKEN_FILE", raising=False)
    monkeypatch.setattr("pilotfish.targets.links.shell_link.PAUSES_S", ())
    pem = {path.name: str(path) for path in certificates.iterdir()}
    settings = AgentSettings(
        "127.0.0.1:0", "", Path(pem["agent.pem"]), Path(pem["agent.key"]), Path(pem["lab.pem"]), tmp_path / "cache", 0.0
    )
    running = Agent(settings)
    try:
        link = open_link(AgentLink(running.address, authority=pem["lab.pem"], certificate=pem["user.pem"], key=pem["user.key"]))
        assert link.device().name
        link.close()
        for wrong in (
            AgentLink(running.address, authority=pem["lab.pem"]),
            AgentLink(running.address, authority=pem["lab.pem"], certificate=pem["thief.pem"], key=pem["thief.key"]),
            AgentLink(running.address, authority=pem["stranger.pem"], certificate=pem["user.pem"], key=pem["user.key"]),
            AgentLink(running.address),
        ):
            with pytest.raises(PilotfishError):
                open_link(wrong).device()
    finally:
        running.close()


def test_the_command_says_where_it_listens_and_what_is_wrong(tmp_path, capsys):
    from pilotfish.cli import main

    assert main(["agent"]) == 2 and "a token or a client authority" in capsys.readouterr().err
    token = written(tmp_path / "token", KEY)
    assert main(["agent", "--token-file", token, "--listen", "0.0.0.0:7788"]) == 2
    assert "TLS" in capsys.readouterr().err
