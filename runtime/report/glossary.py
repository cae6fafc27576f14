"""What each figure is called and how it is obtained, in plain words."""

from __future__ import annotations

FIGURES: dict[str, tuple[str, str]] = {
    "return": ("Return", "mean over the episodes that the artifact itself flew"),
    "reference_return": ("Return of the reference", "mean over the same seeds"),
    "difference": ("Return difference, paired", "artifact minus reference, seed by seed, then the mean"),
    "retained": ("Return kept", "return of the artifact divided by that of the reference"),
    "fas": (
        "Frequency-averaged score",
        "area under the return for decisions 1 to 30 steps apart, on the scale of arXiv 2410.08979",
    ),
    "slowest_hz": ("Slowest rate that keeps the return", "decisions per second down to which the gate is passed"),
    "fas_return": ("Return, frequency-averaged", "mean over decisions 1 to 30 steps apart"),
    "max_abs_error": ("Largest action error", "over the whole golden rollout, the artifact carrying its own state"),
    "one_step_max_abs_error": ("Largest action error, one step", "each step starts from the recorded state"),
    "mean_abs_error": ("Mean action error", "over all entries of the golden rollout"),
    "one_step_agreement": ("Same choice, one step", "each step starts from the recorded state"),
    "agreement": ("Same choice", "share of decisions where artifact and reference choose the same action"),
    "tight_p50_us": ("Latency, median, tight loop", "one decision after the other without a pause"),
    "tight_p99_us": ("Latency, 99th percentile, tight loop", "1 decision in 100 is slower"),
    "tight_p999_us": ("Latency, 99.9th percentile, tight loop", "1 decision in 1,000 is slower"),
    "tight_worst_us": ("Latency, worst, tight loop", "the slowest decision seen"),
    "paced_p50_us": ("Response, median, paced", "from the release of the control period to the action"),
    "paced_p99_us": ("Response, 99th percentile, paced", "1 decision in 100 is slower"),
    "paced_p999_us": ("Response, 99.9th percentile, paced", "1 decision in 1,000 is slower"),
    "paced_worst_us": ("Response, worst, paced", "the slowest decision seen"),
    "paced_call_p50_us": ("Latency, median, paced call alone", "with the caches that a pause leaves behind"),
    "paced_jitter_us": ("Jitter, largest", "deviation of the interval between two decisions from the control period"),
    "paced_jitter_p50_us": ("Jitter, median", "of the deviations of the interval between two decisions from the period"),
    "paced_jitter_p99_us": ("Jitter, 99th percentile", "1 interval in 100 deviates more"),
    "paced_jitter_p999_us": ("Jitter, 99.9th percentile", "1 interval in 1,000 deviates more"),
    "soak_p50_us": ("Response, median, soak", "from the release of the control period to the action, over the whole soak"),
    "soak_p99_us": ("Response, 99th percentile, soak", "1 decision in 100 is slower"),
    "soak_p999_us": ("Response, 99.9th percentile, soak", "1 decision in 1,000 is slower"),
    "soak_worst_us": ("Response, worst, soak", "the slowest decision of the soak"),
    "soak_misses": ("Deadlines missed, soak", "decisions that were not ready when the period ended"),
    "soak_longest_miss_run": ("Longest run of misses, soak", "missed deadlines in a row"),
    "soak_jitter_us": ("Jitter, largest, soak", "deviation of the interval between two decisions from the control period"),
    "soak_drift": ("Drift over the soak", "median of its second half against its first"),
    "soak_hottest_c": ("Highest temperature of the soak", "of the device's own sensors"),
    "first_call_us": ("First call", "cold, right after loading"),
    "paced_misses": ("Deadlines missed", "decisions that were not ready when the period ended"),
    "paced_longest_miss_run": ("Longest run of misses", "missed deadlines in a row"),
    "call_p50_us": ("Latency, median, with the Python call", "what Python code waits for one decision"),
    "gpu_p50_us": ("GPU time, median", "how long a decision keeps the GPU busy, without transfers and launch"),
    "gpu_p99_us": ("GPU time, 99th percentile", "1 sample in 100 is slower"),
    "gpu_p999_us": ("GPU time, 99.9th percentile", "1 sample in 1,000 is slower"),
    "gpu_worst_us": ("GPU time, worst", "the slowest sample seen"),
    "guarded_p50_us": ("Latency, median, with the guard", "a decision and all that its guard checks"),
    "guarded_latency_us": ("Latency per decision, with the guard", "cycles of both divided by the core clock"),
    "guard_us": ("What the guard costs", "median with it less median without it"),
    "guard_cycles": ("What the guard costs, in cycles", "median with it less median without it"),
    "energy_uj": ("Energy per action", "the paced loop with the policy less the same loop without it"),
    "energy_gross_uj": ("Energy per control period", "all that the sensor saw, idle machine included"),
    "energy_baseline_w": ("Power without the policy", "the paced loop alone: the overhead of measuring, and the idle machine"),
    "instructions": ("Instructions per decision", "counted while the real binary ran"),
    "cycles": ("Cycles per decision", "instructions costed with the core's timing table; low and high are the band"),
    "memory_stall_cycles": ("Cycles lost waiting for memory", "flash wait states by a model of the cache lines"),
    "latency_us": ("Latency per decision", "cycles divided by the core clock"),
    "stack_bytes": ("Stack", "deepest use during one decision"),
    "flash_bytes": ("Flash", "program memory: code, weights, tables"),
    "ram_bytes": ("RAM", "static data and stack"),
    "artifact_bytes": ("Size of the deployed files", "what is copied to the device"),
}
"""Figure name -> (title, what it is)."""

LATENCY_KEYS = ("latency_us", "tight_p50_us", "call_p50_us", "paced_call_p50_us", "paced_p50_us")
"""Typical latency of the computation, the purest first; wake-ups of the operating system are in the paced figures."""

SIZE_KEYS = ("flash_bytes", "artifact_bytes")
"""Size, the most telling first."""

METHODS: tuple[tuple[str, str], ...] = (
    (
        "Parity",
        "The artifact replays the golden rollout, the observations that were recorded when its policy was trained or adopted, "
        "and each action is compared with that of the float32 reference. A recurrent artifact carries its own state over the "
        "whole rollout, so that drift shows.",
    ),
    (
        "Latency on a real machine",
        "Every decision is timed by itself. In the tight loop one follows the other: C is timed inside its library, everything "
        "else around the Python call. Paced means one decision per control period, timed from the release of the period to the "
        "action, wake-up of the operating system included. A percentile is printed only if the sample is large enough to hold "
        "it; the worst value is the slowest one seen.",
    ),
    (
        "Latency on a virtual board",
        "The real firmware binary runs instruction by instruction in an emulator, so instruction counts are exact. Cycles come "
        "from the core's published timing table and a model of its flash, and are given as a band. The latency is that band "
        "divided by the clock: an estimate, to be confirmed on the part.",
    ),
    (
        "Return",
        "The exported artifact, not the training network, flies whole episodes in the environment. The reference policy flies "
        "the same seeds, so the comparison is paired; the interval is a 95 % bootstrap over episodes. For a virtual board the "
        "environment runs on this computer and the decisions come from the firmware in the emulator.",
    ),
    (
        "Sizes",
        "Flash and RAM are read from the linked binary and the emulator's stack watermark; the size of the deployed files is the "
        "size of what is copied to the device.",
    ),
)
"""How each kind of number is obtained."""

SOURCES: dict[str, str] = {
    "measured": "timed or counted on the device itself",
    "emulated": "counted while the real binary ran on a virtual board",
    "estimated": "computed by a model from emulated or static facts",
}
"""Source -> what it means."""

BACKENDS: dict[str, str] = {"onnxruntime": "ONNX Runtime", "c": "C", "tensorrt": "TensorRT"}
"""Back-end -> how people call it."""


def title(key: str) -> str:
    """The name of a figure for people; an unknown one is spelled out."""
    return FIGURES[key][0] if key in FIGURES else key.replace("_", " ").capitalize()


def meaning(key: str) -> str:
    """What a figure is; empty for an unknown one."""
    return FIGURES[key][1] if key in FIGURES else ""
