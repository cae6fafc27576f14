"""Our cycle estimates beside published hardware measurements, and the error of each.

    git clone https://github.com/mlcommons/tiny_results_v1.1
    git clone https://github.com/rl-tools/rl-tools
    git clone https://github.com/ARM-software/CMSIS-NN
    python benchmarks/validate_boards.py --images tiny_results_v1.1 --rltools rl-tools --cmsis-nn CMSIS-NN \\
        --gxx "$(command -v arm-none-eabi-g++)" --riscv-gcc "$(command -v riscv64-unknown-elf-gcc)"

Nothing of these repositories is copied. A row whose sources are missing is left out, by name. With the shipped profiles;
deterministic; a few minutes. docs/validation.md holds the table of record and says what it means.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from validation import mlperf_tiny, sources
from validation.row import Row, markdown, summary

from pilotfish.errors import PilotfishError


def comparisons(options: argparse.Namespace) -> Iterator[Row | str]:
    """Rows, and the names of those that cannot be made."""
    if options.images:
        yield from mlperf_tiny.rows(options.images, tuple(options.networks))
    else:
        yield f"--images (a checkout of {mlperf_tiny.REPOSITORY})"
    if options.rltools:
        yield from sources.rltools_rows(options.rltools, options.gxx, options.riscv_gcc)
        if not options.gxx:
            yield "--gxx (arm-none-eabi-g++: RLtools' rows by the published figures' compiler)"
        if not options.riscv_gcc:
            yield "--riscv-gcc (riscv64-unknown-elf-gcc: the ESP32-C3's rows with the published figure's floating point)"
    else:
        yield "--rltools (a checkout of github.com/rl-tools/rl-tools)"
    if options.cmsis_nn and options.images:
        yield from sources.cmsis_rows(options.cmsis_nn, options.images, options.gxx)
    else:
        yield "--cmsis-nn with --images (a checkout of github.com/ARM-software/CMSIS-NN; the figure is in the other)"


def _plain(row: Row) -> dict[str, object]:
    return dataclasses.asdict(row) | {"ratio": row.ratio, "inside": row.inside, "inside_model": row.inside_model}


def main() -> int:
    """Print the table; 1 where there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="checkout of github.com/mlcommons/tiny_results_v1.1")
    parser.add_argument("--rltools", type=Path, help="checkout of github.com/rl-tools/rl-tools")
    parser.add_argument("--cmsis-nn", type=Path, help="checkout of github.com/ARM-software/CMSIS-NN")
    parser.add_argument("--gxx", type=Path, help="arm-none-eabi-g++, for rows by the compiler of the published figures")
    parser.add_argument("--riscv-gcc", type=Path, help="riscv64-unknown-elf-gcc, for its floating point on the ESP32-C3")
    known = list(mlperf_tiny.NETWORKS)
    parser.add_argument("--networks", nargs="+", choices=known, default=known, help="which of the images")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    rows: list[Row] = []
    try:
        for found in comparisons(options):
            if isinstance(found, str):
                print(f"left out: {found}", file=sys.stderr)
                continue
            rows.append(found)
            print(
                f"{found.board}: {found.program}, {found.compiler}: {found.ratio:.3f} ({found.estimate.note})",
                file=sys.stderr,
                flush=True,
            )
    except (PilotfishError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    if not rows:
        return 1
    text = markdown(rows) + "\n" + summary(rows)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(json.dumps([_plain(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
