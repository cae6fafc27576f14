"""What one decision costs on the virtual boards: our C against onnx2c, RLtools and CMSIS-NN, and pruned against dense.

    python benchmarks/boards.py --onnx2c PATH --rltools DIR --cmsis-nn DIR [--json out.json] [--markdown out.md]

Everybody gets the same network, the same compiler with the same flags and the same tanh; every program is compared
with float64 before it is counted. Instruction counts and cycles are deterministic: no rounds, no quiet machine. A peer
whose sources are not given is left out. docs/benchmarks.md says where they come from.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from boards import cmsis_nn, foreign, networks, onnx2c, rltools, thresholds
from boards.networks import Mlp
from boards.row import FLOAT_TOLERANCE, INT8_TOLERANCE, OURS, Row, markdown, measure

from pilotfish.errors import PilotfishError
from pilotfish.export.c import build
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy
from pilotfish.targets.profile import Target, load_target

BOARDS = ("crazyflie", "nucleo-g0b1re")
SIZES = (17, 64, 64, 6)
SPARSITIES = (0.5, 0.8, 0.9, 0.95)
CHECKED = 16
"""Observations whose actions are compared."""
CALIBRATION = 256
"""Observations that the int8 grids span."""
Built = Callable[[Target, Path], Path]
"""(board, folder) -> the firmware in it."""


def contestants(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Mlp, float, Built]]:
    """(policy, maker, network, tolerance, how to build it), pruned policies after their dense twins."""
    for function in ("tanh", "relu"):
        mlp = networks.dense(function, *SIZES)
        variant = f"float32 {function}"
        yield variant, OURS, mlp, FLOAT_TOLERANCE, _ours(mlp.policy())
        if arguments.onnx2c:
            yield variant, "onnx2c", mlp, FLOAT_TOLERANCE, _peer(onnx2c.program(mlp, arguments.onnx2c))
        if arguments.rltools:
            yield variant, "RLtools", mlp, FLOAT_TOLERANCE, _peer(rltools.program(mlp, arguments.rltools))
        for sparsity in SPARSITIES:
            thin = networks.sparse(mlp, sparsity)
            yield f"{round(100 * sparsity)} % sparse {function}", OURS, thin, FLOAT_TOLERANCE, _ours(thin.policy())
    mlp = networks.dense("tanh", *SIZES)
    seen = networks.observations(mlp, CALIBRATION)
    yield "int8 tanh", OURS, mlp, INT8_TOLERANCE, _ours(mlp.policy_int8(seen, "int8"))
    if arguments.cmsis_nn:
        yield "int8 tanh", "CMSIS-NN", mlp, INT8_TOLERANCE, _peer(cmsis_nn.program(mlp, arguments.cmsis_nn, seen))
    yield "int8 tanh, int16 input", OURS, mlp, INT8_TOLERANCE, _ours(mlp.policy_int8(seen, "int16"))


def _ours(policy: Policy) -> Built:
    def made(target: Target, folder: Path) -> Path:
        return folder / build(policy, to_onnx(policy), target, folder)["entry"]

    return made


def _peer(program: foreign.Foreign) -> Built:
    return lambda target, folder: foreign.build(program, target, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx2c", type=Path, help="the program onnx2c")
    parser.add_argument("--rltools", type=Path, help="source tree of RLtools")
    parser.add_argument("--cmsis-nn", type=Path, help="source tree of CMSIS-NN")
    parser.add_argument("--boards", nargs="+", default=BOARDS, help="target profiles of virtual boards")
    parser.add_argument("--only", default="", help="policies or makers whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder to leave sources and firmware in")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        for board in arguments.boards:
            target = load_target(board)
            for variant, maker, mlp, tolerance, made in contestants(arguments):
                if arguments.only not in f"{variant} {maker}":
                    continue
                folder = root / board / f"{variant}-{maker}".replace(" ", "_").replace("%", "percent")
                folder.mkdir(parents=True, exist_ok=True)
                seen = networks.observations(mlp, CHECKED)
                try:
                    numbers = measure(made(target, folder), target, mlp.reference(seen), seen, tolerance)
                except PilotfishError as error:  # one contestant's failure is a line, not the end
                    print(f"{board}, {variant}, {maker}: {error}", file=sys.stderr)
                    continue
                rows.append(Row(board, variant, maker, **numbers))  # type: ignore[arg-type]
                cost = f"{rows[-1].cycles_typical:>11,} cycles {rows[-1].flash_bytes:>8,} bytes of flash"
                print(f"{board:14} {variant:26} {maker:10} {cost}", flush=True)
    print("\n" + markdown(rows))
    goals = thresholds.lines(rows)
    print("\n" + "\n".join(goals))
    if arguments.json:
        found = {"rows": [dataclasses.asdict(row) for row in rows], "goals": goals}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
