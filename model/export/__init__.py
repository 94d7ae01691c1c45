"""Checkpoints for other runtimes: one ONNX file, or a `torch.export` program.

`model.export.onnx_file` writes the first and needs the extra `export`.
"""
