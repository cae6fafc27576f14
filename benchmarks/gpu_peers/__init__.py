"""One way each to run a policy on a GPU, for benchmarks/gpu.py."""

PEERS = ("torch", "onnxruntime", "tensorrt", "tvm")
"""Modules ``on_NAME.py``, in the order of the table. A new one is a line here."""
