"""targets: what a device is (profiles/*.toml) and how it is reached: links/ to computers, boards in an emulator (virtual/)."""

from .profile import Target, load_target, shipped_targets, with_accuracy, with_tune_trials

__all__ = ["Target", "load_target", "shipped_targets", "with_accuracy", "with_tune_trials"]
