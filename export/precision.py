"""Which precision an artifact gets: the policy's own, or 16 bits where a back-end rounds the matrices itself.

A precision is an arithmetic. Weights of 2 to 8 bits are multiplied as integers, so all of them count as int8; weights stored as
float16 are multiplied in float32.
"""

from __future__ import annotations

import dataclasses

from ..errors import BadInput, Unsupported
from ..policy.bundle import Policy
from ..targets.profile import Target
from ..targets.tensorrt import Half

HALVES: dict[str, Half] = {"fp16": "fp16", "bf16": "bf16"}
_REPAIRS = {
    "int8": "Make one with pilotfish compress and the quantize pass",
    "fp16": "The quantize pass with weight_bits = 16 stores weights as float16; their arithmetic, the precision, stays fp32",
}


def at_precision(policy: Policy, target: Target, backend: str, asked: str | None) -> Target:
    """``target`` as it must be for ``policy`` to be built at the precision ``asked``; None: as the profile says.

    Raises BadInput where the policy has another precision and the back-end cannot round to it, or where the target does not
    list it; Unsupported for fp8.
    """
    if asked == "fp8":
        raise Unsupported("precision fp8", expected="fp32, fp16, bf16 or int8", found="fp8", repair="int8 has as many bits")
    gpu = target.tensorrt if backend == "tensorrt" else None
    if asked is None and gpu is not None and policy.precision == "fp32":
        asked = gpu.half
    precision = asked or policy.precision
    if precision != policy.precision and not (gpu is not None and precision in HALVES and policy.precision == "fp32"):
        raise BadInput(
            policy.name,
            expected=f"a policy of precision {precision}",
            found=policy.precision,
            repair=_REPAIRS.get(precision, ""),
        )
    if precision not in target.precisions:
        raise BadInput(policy.name, expected=f"a precision of {target.name}: {', '.join(target.precisions)}", found=precision)
    if gpu is None:
        return target
    return dataclasses.replace(target, tensorrt=dataclasses.replace(gpu, half=HALVES.get(precision)))
