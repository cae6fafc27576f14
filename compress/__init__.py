"""compress: policy -> smaller policy (prune, trim, factorize, quantize, distill, heal)."""

from .passes import BrokenPass, Context, apply, summary
from .recipe import compress, dump_recipe, load_recipe, parse_recipe
from .table import PASSES, PassConfig

__all__ = [
    "PASSES",
    "BrokenPass",
    "Context",
    "PassConfig",
    "apply",
    "compress",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "summary",
]
