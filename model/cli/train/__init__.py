"""`mambaad train`."""
