"""Law: whatever is handed to the extension, the address sanitizer sees no access outside what it was given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = '''
import ctypes, sys
import numpy as np
from pilotfish.errors import BadInput
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.open import open_session

session = open_session(Artifact.load(sys.argv[1]), trust=True)
assert session.call_path == "CPython extension", session.call_path
n, m = session.contract.observation.size, 3
wanted = session.act(np.ones(n, np.float32))
if sys.argv[2] == "beyond":  # the proof that the sanitizer would have spoken: one value too few
    small = np.ones(n - 1, np.float32)
    session._library.policy_step(*(ctypes.c_void_p(a.ctypes.data) for a in (small, np.zeros(1, np.float32), wanted)))
    sys.exit(0)

rng = np.random.default_rng(int(sys.argv[2]))
TYPES = ("f4", "f4", "f4", "f8", ">f4", "i4", "i8", "?", "c8", "O", "S3", "f2", "m8[s]")

class Strange:
    """Does something to the world while it is being read."""
    def __init__(self, act, value):
        self.act, self.value = act, value
    def __array__(self, dtype=None, copy=None):
        self.act()
        return self.value

def array(rows=None):
    """Mostly what is wanted, in every layout; else any shape."""
    shape = (n,) if rows is None else (rows, n)
    if rng.random() < 0.4:
        shape = tuple(int(k) for k in rng.integers(0, 9, rng.integers(0, 4)))
    kind = TYPES[rng.integers(len(TYPES))]
    made = np.ones(shape, kind)
    layout = rng.integers(8)
    if layout == 0:
        made = np.repeat(made, 2, axis=-1)[..., ::2] if made.ndim else made
    elif layout == 1:
        made = made[::-1] if made.ndim else made
    elif layout == 2:
        made = np.asfortranarray(made)
    elif layout == 3 and made.dtype.kind != "O":
        raw = np.zeros(made.nbytes + 1, np.uint8)
        made = np.ndarray(made.shape, made.dtype, raw.data, 1)
    elif layout == 4:
        made = np.broadcast_to(made[:1], made.shape) if made.ndim and len(made) else made
    elif layout == 5:
        made.flags.writeable = False
    elif layout == 6:
        made = made.tolist() if rng.random() < 0.5 else np.ma.array(made)
    return made

def thing(rows=None):
    return (None, "text", 1.5, b"bytes", {}, object(), n)[rng.integers(7)] if rng.random() < 0.05 else array(rows)

done = refused = 0
for turn in range(6000):
    which = rng.integers(8)
    try:
        if which < 2:
            obs = thing()
            result = session.act(obs)
            assert result.shape == (m,) and result.dtype == np.float32
            if rng.random() < 0.1:
                result.resize(int(rng.integers(0, 9)), refcheck=False)
        elif which < 4:
            session.act_into(thing(), np.zeros(m, np.float32) if rng.random() < 0.5 else thing())
        elif which < 6:
            rows = int(rng.integers(0, 5))
            result = session.act_batch(thing(rows), *([] if rng.random() < 0.5 else [thing(rows)]))
        elif which == 6:  # the output shrinks while the observation is being read
            out = np.zeros(m, np.float32)
            shrink = Strange(lambda: out.resize(0, refcheck=False), np.ones(n, np.float32))
            session.act_into(shrink, out)
        else:  # a decision within a decision
            session.act(Strange(lambda: session.act([2.0] * n), np.ones(n, np.float32)))
        done += 1
    except (BadInput, TypeError, ValueError, OverflowError):  # ValueError: NumPy would not resize
        refused += 1
np.testing.assert_array_equal(session.act(np.ones(n, np.float32)), wanted)
for call in (session.act, lambda obs: session.act_into(obs, np.zeros(m, np.float32))):
    session = open_session(Artifact.load(sys.argv[1]), trust=True)
    try:  # it closes while the observation is being read
        getattr(session, "act")(Strange(session.close, np.ones(n, np.float32)))
    except RuntimeError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("acted although closed")
print("done", done, "refused", refused)
'''


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads libasan.so")
def test_the_sanitizer_sees_nothing(build, policy_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc")
    library = Path(subprocess.check_output([gcc, "-print-file-name=libasan.so"], text=True).strip())
    if not library.is_absolute():
        pytest.skip("gcc has no libasan")
    monkeypatch.setenv("CC", f"{gcc} -fsanitize=address,undefined -fno-sanitize-recover=all")
    artifact = build(policy_of(inputs=7), "c")
    if artifact.manifest.tools["binding"].startswith("none"):
        pytest.skip(artifact.manifest.tools["binding"])
    script = tmp_path / "fuzz.py"
    script.write_text(FUZZ)
    # PYTHONMALLOC: every array's memory is a block of its own, with the sanitizer's red zones around it.
    environment = os.environ | {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}

    def run(argument: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(artifact.path), argument]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    fuzzed = run("1")
    assert fuzzed.returncode == 0 and not fuzzed.stderr, fuzzed.stdout + fuzzed.stderr[-3000:]
    _, done, _, refused = fuzzed.stdout.split()
    assert int(done) > 500 and int(refused) > 500
    beyond = run("beyond")
    assert beyond.returncode != 0 and "AddressSanitizer" in beyond.stderr
