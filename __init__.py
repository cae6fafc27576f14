"""Pilotfish: train a control policy, shrink it, export it to a small computer, prove it there."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pilotfish")
except PackageNotFoundError:  # running from a checkout that was never installed
    __version__ = "0+unknown"
