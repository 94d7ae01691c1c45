"""The network on a CUDA GPU: fused kernels, CUDA graphs, and a precision chosen by measurement."""
