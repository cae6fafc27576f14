"""Trainings in processes of their own, some at a time: started, heard, stopped without losing their state."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import PilotfishError
from .config import PPOConfig, SACConfig, TD3Config
from .interrupt import Interrupt
from .one_seed import trained
from .progress import Bar

STOP_WITHIN_S = 60.0
"""What a training has to end its iteration and write a checkpoint before it is killed."""


class Trainings:
    """The processes of the trainings that are not done, some at a time."""

    def __init__(self, config: PPOConfig | SACConfig | TD3Config, orders: list[dict[str, Any]], progress: bool) -> None:
        self.waiting = [order for order in orders if trained(Path(order["folder"]), order["key"]) is None]
        self.total, self.each, self.progress = len(orders), config.steps, progress
        self.title = f"{config.algorithm} {config.env}, {len(orders)} seeds"
        self.finished = self.total - len(self.waiting)
        self.steps: dict[str, int] = {}
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()
        self.failure: PilotfishError | None = None

    def work(self, at_once: int) -> None:
        """Until all are done, one has failed, or Ctrl-C asks to stop."""
        with ExitStack() as stack:
            interrupt = stack.enter_context(Interrupt())
            bar = stack.enter_context(Bar(self.title, self.total * self.each, shown=self.progress))
            stack.callback(self._stop)
            while self.waiting or self.running:
                while self.waiting and len(self.running) < at_once:
                    self._start(self.waiting.pop(0))
                self._listen()
                done = self.finished * self.each + sum(min(steps, self.each) for steps in self.steps.values())
                bar.update(done, f"{self.finished} of {self.total} seeds done")
                if interrupt.asked or (self.failure and not self.heard.qsize()):
                    break
        if self.failure:
            raise self.failure
        if interrupt.asked:
            interrupt.stop(f"stopped with {self.finished} of {self.total} seeds done; the same command goes on from there")

    def _start(self, order: dict[str, Any]) -> None:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then passes on exactly one.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.one_seed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        name = order["folder"]
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        self.running[name], self.steps[name] = process, 0
        threading.Thread(target=self._hear, args=(name, process), daemon=True).start()

    def _hear(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.heard.put((name, line))
        self.heard.put((name, ""))

    def _listen(self) -> None:
        """Take in what the processes said; an empty line is the end of one."""
        try:
            name, line = self.heard.get(timeout=0.2)
        except queue.Empty:
            return
        if line:
            said = json.loads(line)
            self.steps[name] = said.get("steps", self.steps[name])
            if "error" in said:
                self.failure = PilotfishError(f"{name}: {said['error']}")
            return
        code = self.running[name].wait()
        self._close(name)
        del self.steps[name]
        if code == 0:
            self.finished += 1
        elif self.failure is None:
            repair = "Run the same command again: it goes on from the last checkpoint"
            self.failure = PilotfishError(f"{name}: the training's process ended with exit code {code}. {repair}")
        else:
            self.failure.exit_code = code  # what kind of error it was

    def _stop(self) -> None:
        """End what still runs: the end of its standard input is a Ctrl-C to it, and it saves its state."""
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.close()
        for name, process in list(self.running.items()):
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._close(name)

    def _close(self, name: str) -> None:
        process = self.running.pop(name)
        for stream in (process.stdin, process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
