"""Commands that measure checkpoints: `mambaad evaluate`, `compare` and `reproduce`."""
