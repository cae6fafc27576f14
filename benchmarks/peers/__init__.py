"""Other runtimes, one short file each, and the process that runs one of them for the host benchmark.

A peer is a module ``on_NAME.py`` with two functions (see :mod:`peers.contestant`). It sees a policy only as the
folder of a :class:`peers.subject.Subject`: numpy arrays and an ONNX file. Peers run under Pythons that have no Pilotfish, so
nothing here but ``on_pilotfish``, ``on_hand`` and the other compiled ones imports it.
"""

PEERS = {
    "onnxruntime": "main",
    "pilotfish": "main",
    "hand": "main",
    "numpy": "main",
    "torch": "main",
    "torch_compile": "main",
    "onnx2c": "main",
    "rltools": "main",
    "litert": "litert",
    "openvino": "openvino",
    "tvm": "tvm",
    "executorch": "executorch",
}
"""Peer -> the virtual environment it runs in: "main" is the one that runs the script. A new peer is a file and a line here."""
