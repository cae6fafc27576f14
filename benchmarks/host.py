"""What one decision costs on this machine: Pilotfish's C against other runtimes, in one interleaved run.

    python benchmarks/host.py [--rounds 40] [--peers numpy,litert] [--subjects AB] [--json FILE] [--markdown FILE]

Each runtime lives in a process of its own, pinned to one CPU; in every round each contestant gets one block of calls, so
that a machine that slows down slows all of them. A contestant whose answers stray from the float64 reference is listed as
wrong and not timed. How to install the peers and what a figure contains: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from host_peers import VENVS, PeerFailed, Running, cpus, python_of, start
from host_results import Line, Results
from host_subjects import TITLES, write_subject
from host_table import markdown, terminal
from peers import PEERS

from pilotfish.targets import host


def main(arguments: list[str] | None = None) -> Results:
    """Run it; returns what it printed."""
    options = _options(arguments)
    device = host.fingerprint()  # first: a pinned process has one usable core
    driver_cpu, peer_cpu = cpus()
    if driver_cpu is not None and not options.unpinned:
        os.sched_setaffinity(0, {driver_cpu})
    began = time.monotonic()
    peer_cpu = None if options.unpinned else peer_cpu
    settings: dict[str, Any] = {"rounds": options.rounds, "block_ms": options.block_ms, "cpu": peer_cpu}
    running: list[Running] = []
    with tempfile.TemporaryDirectory(prefix="pilotfish-bench-") as scratch:
        root = Path(scratch)
        titles = {name: TITLES[name] for name in TITLES if name in options.subjects}
        results = Results(device, settings, titles, {}, {}, {}, [])
        try:
            for name in titles:
                write_subject(name, root / "subjects")
            (root / "peers").mkdir()
            flags = {"BENCH_ONNX2C": options.onnx2c, "BENCH_RL_TOOLS": options.rl_tools}
            for name in options.peers:
                peer = start(name, python_of(name, PEERS[name], options.python, options.venvs), root / "peers", peer_cpu, flags)
                running.append(peer)
                _prepare(peer, root / "subjects", results)
            _rounds(running, results, options.rounds, options.block_ms)
        finally:
            for peer in running:
                peer.close()
    settings["seconds"], settings["load_at_end"] = time.monotonic() - began, os.getloadavg()[0]
    print(terminal(results))
    if options.json:
        options.json.write_text(json.dumps(results.to_json(), indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))
    return results


def _prepare(peer: Running, subjects: Path, results: Results) -> None:
    """Have a peer make its contestants for every subject, and note what it lacks."""
    if peer.missing:
        results.absent[peer.name] = f"skipped: {peer.missing}"
        return _say(f"{peer.name}: skipped, {peer.missing} is not here")
    results.versions[peer.name] = peer.versions
    for subject in results.titles:
        where = f"{peer.name} on {subject}"
        try:
            answer = peer.ask("prepare", folder=str(subjects / subject))
        except PeerFailed as error:
            results.absent[where] = str(error)
            _say(f"{where}: {error}")
            if peer.process.poll() is not None:
                return None
            continue
        if "not_offered" in answer:
            results.absent[where] = answer["not_offered"]
            continue
        for made in answer["contestants"]:
            deviation, right = made["deviation"], made["right"]
            results.lines.append(Line(subject, made["label"], peer.name, made["caller"], made["contains"], deviation, right))
        _say(f"{where}: ready after {answer['seconds']:.1f} s")
    return None


def _rounds(running: list[Running], results: Results, rounds: int, block_ms: float) -> None:
    """Two rounds to warm up, then ``rounds`` that count; the order turns by one place each round."""
    by_name = {peer.name: peer for peer in running}
    clocks: dict[str, list[float]] = {}
    for index in range(-2, rounds):
        for subject in results.titles:
            lines = [line for line in results.lines if line.subject == subject and line.right and not line.failed]
            turn = index % max(1, len(lines))
            for line in lines[turn:] + lines[:turn]:
                try:
                    block = by_name[line.peer].ask("block", subject=subject, label=line.label, budget_ms=block_ms)
                except PeerFailed as error:
                    line.failed, line.medians_ns = str(error), []
                    results.absent[f"{line.label} on {subject}"] = line.failed
                    continue
                if index >= 0:
                    line.medians_ns.append(block["median_ns"])
                    line.p99_ns.append(block["p99_ns"])
                    line.calls += block["calls"]
        for peer in running:
            if index >= 0 and not peer.missing and peer.process.poll() is None:
                for caller, value in peer.ask("clock").items():
                    clocks.setdefault(caller, []).append(value)
        _say(f"round {index + 1} of {rounds}", end="\r")
    results.clock_ns = {caller: sorted(values)[len(values) // 2] for caller, values in clocks.items()}
    _say("")


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="rounds that count (default 40)")
    parser.add_argument("--block-ms", type=float, default=4.0, help="length of a block (default 4 ms; 40 to 2000 calls)")
    parser.add_argument("--peers", type=_peers, default=list(PEERS), help=f"comma-separated, of: {', '.join(PEERS)}")
    parser.add_argument("--subjects", type=_subjects, default=list(TITLES), help=f"comma-separated, of: {', '.join(TITLES)}")
    parser.add_argument("--python", type=_python, action="append", default=[], metavar="NAME=PATH", help="Python of a peer")
    parser.add_argument("--venvs", type=Path, default=VENVS, help="folder of the peers' virtual environments")
    parser.add_argument("--unpinned", action="store_true", help="let peers run on every CPU")
    parser.add_argument("--onnx2c", default="onnx2c", help="the onnx2c program (default: on the PATH)")
    parser.add_argument("--rl-tools", default="", metavar="DIR", help="checkout of rl-tools (its include/ is compiled)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args(arguments)
    options.python = dict(options.python)
    return options


def _peers(text: str) -> list[str]:
    return _among(text, list(PEERS), "peer")


def _subjects(text: str) -> list[str]:
    return _among(text, list(TITLES), "subject")


def _among(text: str, known: list[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {what} {name!r}; there are {', '.join(known)}")
    return names


def _python(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).exists():
        raise argparse.ArgumentTypeError(f"expected NAME=/path/to/python, found {text!r}")
    # Not resolved: a virtual environment's python is a link, and the link is what makes it one.
    return name, Path(path).absolute()


if __name__ == "__main__":
    main()
