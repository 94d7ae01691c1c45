"""What computes a network, one room for each: torch, torch on CUDA, onnxruntime.

An engine keeps the Protocol of `model.inference.engine`. It returns what the scoring compares and
knows no category, so one batch serves several categories.
"""
