"""Computes the network on a CUDA GPU: fused kernels, CUDA graphs, a measured precision."""
