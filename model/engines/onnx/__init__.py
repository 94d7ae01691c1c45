"""The network by onnxruntime."""
