"""compress: policy -> smaller policy, by passes (distill, shrink, prune, factorize, quantize …) in the order of a recipe."""

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
