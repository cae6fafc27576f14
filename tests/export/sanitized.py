"""Many generated programs in one executable, under the sanitizers, their scratch memory poisoned."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from side_by_side import one_text, renamed

FLAGS = ["-std=c99", "-Og", "-ffp-contract=fast", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
FLAGS += ["-fno-sanitize-recover=all", "-fno-sanitize=null"]  # a null pointer ends the process without help
QUIET = ["-fsanitize-undefined-trap-on-error"]
"""Undefined behavior ends the process without a word: a third less to compile. What fails is built again, to say why."""
MAIN = """
#include <stdio.h>
#include <string.h>
int main(void) {
  RUNS
  return 0;
}
"""
RUN = """
  for (int pass = 0; pass < 2; ++pass) {
    /* No padding: the sanitizer sees a read or write past either end. Only the second pass starts from poison. */
    float state[PSTATE_SIZE > 0 ? PSTATE_SIZE : 1];
    policy_reset(state);
    for (int row = 0; row < ROWS; ++row) {
      float obs[POBS_SIZE];
      policy_action_t action[PACTION_COUNT];
      if (fread(obs, sizeof obs, 1, stdin) != 1) return 2;
      memset(action, 0xFF, sizeof action);
      if (pass) { POISON }
      policy_step(obs, state, action);
      fwrite(action, sizeof action, 1, stdout);
      if (PSTATE_SIZE > 0) fwrite(state, sizeof(float), PSTATE_SIZE, stdout);
    }
  }
"""


@dataclass
class Program:
    """One generated program and the observations that it gets."""

    files: dict[str, str]
    """policy.c and policy.h"""
    obs: np.ndarray
    """float32 [T, n]"""
    state: int
    """Values of its state."""
    count: int
    """Values of its action."""
    discrete: bool


def run(compiler: str, programs: list[Program], folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(actions [T, m], states [T, s]) of each program; fails where poisoned scratch memory changes a single bit."""
    parts, runs, feed = [], [], []
    for index, program in enumerate(programs):
        text = one_text(program.files)
        arenas = re.findall(r"^static \w+ (policy_arena\w*)\[", text, re.MULTILINE)
        assert arenas, "no arena to poison"
        run_text = RUN.replace("POISON", " ".join(f"memset({a}, 0xFF, sizeof {a});" for a in arenas))
        sizes = {"POBS_SIZE": "POLICY_OBS_SIZE", "PSTATE_SIZE": "POLICY_STATE_SIZE", "PACTION_COUNT": "POLICY_ACTION_COUNT"}
        for name, value in sizes.items():
            run_text = run_text.replace(name, value)
        run_text = run_text.replace("ROWS", str(len(program.obs)))
        parts.append(renamed(text, index))
        runs.append(renamed(run_text, index))
        feed += [program.obs.astype(np.float32).tobytes()] * 2
    (folder / "all.c").write_text("\n".join(parts) + MAIN.replace("RUNS", "".join(runs)))
    done = _build_and_run(compiler, QUIET, folder, b"".join(feed))
    if done.returncode:
        said = _build_and_run(compiler, [], folder, b"".join(feed)).stderr.decode(errors="replace")
        raise AssertionError(f"exit code {done.returncode}: {said[-3000:]}")
    return _split(done.stdout, programs)


def _build_and_run(compiler: str, more: list[str], folder: Path, feed: bytes) -> subprocess.CompletedProcess[bytes]:
    subprocess.run([compiler, *FLAGS, *more, "all.c", "-o", "all"], cwd=folder, check=True)
    return subprocess.run([str(folder / "all")], input=feed, capture_output=True, check=False)


def _split(raw: bytes, programs: list[Program]) -> list[tuple[np.ndarray, np.ndarray]]:
    results, at = [], 0
    for program in programs:
        rows, width = len(program.obs), program.count + program.state
        words = np.frombuffer(raw, "<u4", 2 * rows * width, at).reshape(2, rows, width)
        at += words.nbytes
        assert (words[0] == words[1]).all(), "a result depends on what scratch memory held before"
        action = words[0][:, : program.count].copy()
        state = words[0][:, program.count :].copy().view("<f4")
        results.append((action.view("<i4") if program.discrete else action.view("<f4"), state))
    assert at == len(raw)
    return results
