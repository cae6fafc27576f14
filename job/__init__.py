"""job: the whole flow from one TOML file, resumable, each step cached by the content it depends on."""

from .outcome import JobResult
from .plan import run_job
from .schema import Job, load_job

__all__ = ["Job", "JobResult", "load_job", "run_job"]
