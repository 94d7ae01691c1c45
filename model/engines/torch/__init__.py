"""The network by torch, on a CPU or a GPU."""
