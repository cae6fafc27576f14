"""``python -m pilotfish.cli``: the command line where no script was installed."""

from . import main

raise SystemExit(main())
