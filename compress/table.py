"""The table of passes: a new pass is a new short file and one line here."""

from __future__ import annotations

from typing import Any

from .cp import CP, Cp
from .distill import DISTILL, Distill
from .factorize import FACTORIZE, Factorize
from .fold import FOLD, Fold
from .heal import HEAL, Heal
from .lowrank_training import LOWRANK, LowRank
from .passes import Pass
from .prune import PRUNE, Prune
from .quantize import QUANTIZE
from .quantize_settings import Quantize
from .sharing import HASH, TIE, Hash, Tie
from .shrink import SHRINK, Shrink
from .trim import TRIM, Trim
from .tucker import TUCKER, Tucker

PassConfig = Prune | Trim | Shrink | Factorize | Tucker | Cp | Fold | LowRank | Hash | Tie | Quantize | Distill | Heal
"""Any pass's settings."""
PASSES: dict[str, Pass[Any]] = {
    step.name: step for step in (PRUNE, TRIM, SHRINK, FACTORIZE, TUCKER, CP, FOLD, LOWRANK, HASH, TIE, QUANTIZE, DISTILL, HEAL)
}
"""By the name that a recipe uses."""
