"""Every function of the C back-end over all 2^32 floats, against libm in double. Not run by pytest: a minute each.

    python tests/export/exhaustive_math.py            all functions, both accuracies
    python tests/export/exhaustive_math.py tanh elu   these, both accuracies

Prints the largest absolute error, the largest relative error where the truth is a normal float, the range of
results, and how many NaN inputs did not give NaN (must be 0).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pilotfish.export.c.functions import FAST, definitions
from pilotfish.export.c.toolchain import BASE_FLAGS

TRUTH = {
    "tanh": "tanh(v)",
    "exp": "exp(v)",
    "sigmoid": "1 / (1 + exp(-v))",
    "silu": "v / (1 + exp(-v))",
    "elu": "(v > 0 ? v : expm1(v))",
    "softplus": "((v > 0 ? v : 0) + log1p(exp(-fabs(v))))",
    "mish": "v * tanh((v > 0 ? v : 0) + log1p(exp(-fabs(v))))",
}
MAIN = """
int main(void) {
  static float x[65536], y[65536];
  double absolute = 0, relative = 0, low = 1e300, high = -1e300;
  float at_absolute = 0, at_relative = 0;
  long lost = 0;
  for (uint64_t base = 0; base < 1ull << 32; base += 65536) {
    for (int i = 0; i < 65536; ++i) {
      union { float value; uint32_t bits; } word;
      word.bits = (uint32_t)base + (uint32_t)i;
      x[i] = word.value;
    }
    for (int i = 0; i < 65536; ++i) y[i] = policy_NAME(x[i]MORE);
    for (int i = 0; i < 65536; ++i) {
      const double v = x[i];
      if (isnan(v)) lost += !isnan(y[i]);
      if (isnan(v) || isinf(v)) continue;
      const double truth = TRUTH, error = fabs(y[i] - truth);
      if (fabs(truth) > 3.4028234e38 && isinf(y[i])) continue;
      if (error > absolute) absolute = error, at_absolute = x[i];
      if (fabs(truth) > 1.18e-38 && error > relative * fabs(truth)) relative = error / fabs(truth), at_relative = x[i];
      low = y[i] < low ? y[i] : low;
      high = y[i] > high ? y[i] : high;
    }
  }
  printf("absolute %.3g at %g, relative %.3g at %g, results in [%.9g, %.9g], NaN lost %ld\\n",
         absolute, at_absolute, relative, at_relative, low, high, lost);
  return 0;
}
"""


def main(names: list[str]) -> None:
    for name in names or TRUTH:
        for accuracy in ("exact", "fast") if name in FAST else ("exact",):
            text = "#include <math.h>\n#include <stdint.h>\n#include <stdio.h>\n" + definitions([name], accuracy)
            text += MAIN.replace("NAME", name).replace("TRUTH", TRUTH[name]).replace("MORE", ", 1.0f" if name == "elu" else "")
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "all.c").write_text(text)
                flags = [*BASE_FLAGS, "-O3", "-march=native"]
                subprocess.run(["cc", *flags, "all.c", "-o", "all", "-lm"], cwd=folder, check=True)
                found = subprocess.run([str(Path(folder) / "all")], capture_output=True, text=True, check=True).stdout
            sys.stdout.write(f"{name}, {accuracy}: {found}")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
