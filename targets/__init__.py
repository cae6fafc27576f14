"""targets: what a device is (profiles/*.toml) and how it is reached (links/: a shell here or over SSH, an agent; virtual/: boards in an emulator)."""

from .profile import Target, load_target, shipped_targets, with_accuracy, with_tune_trials

__all__ = ["Target", "load_target", "shipped_targets", "with_accuracy", "with_tune_trials"]
