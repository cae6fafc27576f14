"""policy: the noun that every room hands on (contract, network, bundle, adopted foreign checkpoints)."""

from .bundle import Policy
from .contract import Action, Contract, Normalizer, Observation, Provenance, Timing
from .golden import Golden
from .own_environment import trust_env

__all__ = ["Action", "Contract", "Golden", "Normalizer", "Observation", "Policy", "Provenance", "Timing", "trust_env"]
