"""The scan on a CPU: Numba kernels, forward and backward, registered as an operator of torch.

A thread takes one block of channels of one image, whose state stays in the first-level cache while
it walks every position (`backend`). The vector arithmetic (`vector`, `steps`) is written once, and
LLVM lowers it to AVX2, AVX-512 or NEON. The backward pass stores nothing from the forward pass: it
recomputes the states chunk by chunk, which is faster than reading them from memory.
"""
