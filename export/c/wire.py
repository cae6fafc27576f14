"""wire.h and wire.c: the device's side of the wire protocol, for whoever writes the six functions of a board."""

from __future__ import annotations

from string import Template

from ...policy.bundle import Policy
from ...policy.guard import GuardTable
from ...targets.wire.messages import guard_mark
from .functions import template
from .header import header_of


def wire_files(policy: Policy, guard: GuardTable | None = None) -> dict[str, str]:
    """File name -> text of the protocol's two files for ``policy``; they belong beside its policy.h (docs/wire.md).

    ``guard``: it answers too; its guard.h lies there as well, and guard.c is compiled with it.
    """
    digest = bytes.fromhex(policy.digest)
    values = {"provenance": header_of(policy).provenance, "digest": ", ".join(f"0x{byte:02x}" for byte in digest)}
    values["guard"] = "/* #define WIRE_GUARD */" if guard is None else "#define WIRE_GUARD"
    values["mark"] = "0" if guard is None else str(guard_mark(guard))
    return {"wire.h": Template(template("wire.h.in")).substitute(values), "wire.c": template("wire.c")}
