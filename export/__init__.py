"""export: policy + target -> artifact (ONNX, ONNX Runtime, C)."""
