"""The commands that make, change and export checkpoints."""
