"""`mambaad evaluate`, `compare` and `reproduce`."""
