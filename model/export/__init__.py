"""Exports checkpoints for other runtimes: as one ONNX file, or as a `torch.export` program.

exported = export_onnx(checkpoint, Path("solar.onnx"))  # needs the extra `export`
print(exported.parity)
"""
