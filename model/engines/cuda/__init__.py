"""Inference on CUDA: weights prepared for it, fused kernels, graphs, precision by measurement."""
