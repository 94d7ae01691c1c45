"""The command `mambaad`."""
