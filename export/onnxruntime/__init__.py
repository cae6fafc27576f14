"""export/onnxruntime"""
