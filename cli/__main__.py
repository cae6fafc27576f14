"""``python -m pilotfish.cli``: the command line where no script was installed."""

from . import main

if __name__ == "__main__":
    raise SystemExit(main())
