"""The program `mambaad`: `serve`, `detect`, `keys`, and the offline commands of `model.cli`."""
