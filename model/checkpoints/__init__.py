"""Checkpoints on disk: manifest, tensors, store."""
