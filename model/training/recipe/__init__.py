"""The recipe of a training run: every value that decides its result."""
