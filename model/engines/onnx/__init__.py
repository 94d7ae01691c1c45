"""The network from an ONNX file, computed by onnxruntime; needs no torch."""
