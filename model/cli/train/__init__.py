"""The command `mambaad train`: its options, the recipe they make, and the run."""
