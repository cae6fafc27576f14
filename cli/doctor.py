"""``pilotfish doctor``: what is installed here."""

from __future__ import annotations

from .. import doctor, tables
from .app import app, example
from .options import Json, Verbose


@app.command("doctor", epilog=example("pilotfish doctor"))
def doctor_command(as_json: Json = False, verbose: Verbose = False) -> None:
    """What is installed, what each extra would add, which compilers, GPU and runtimes were found."""
    tables.doctor_report(doctor.examine(), as_json)
