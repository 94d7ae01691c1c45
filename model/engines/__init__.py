"""Engines that compute a network, one room for each: torch, torch on CUDA, onnxruntime.

An engine implements the Protocol of `model.inference.engine`. It needs no category, so one batch
can mix several:

    engine = OnnxEngine(path.read_bytes(), (256, 256), threads=2)
    maps = engine.compare(images, lambda stage: None)
"""
