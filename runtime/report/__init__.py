"""report: artifacts and their results -> one page that people look at, and one JSON that machines read."""

from .write import write_report

__all__ = ["write_report"]
