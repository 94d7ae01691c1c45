"""Engines that compute a network, one room for each: torch, torch on CUDA, onnxruntime.

An engine implements the Protocol of `model.inference.engine`. It needs no category, so one batch
can mix several.
"""
