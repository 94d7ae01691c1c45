"""Exports checkpoints for other runtimes: as one ONNX file, or as a `torch.export` program.

from model.export.onnx_file import export_onnx  # needs the extra `export`
print(export_onnx(checkpoint, Path("solar.onnx")).parity)
"""
