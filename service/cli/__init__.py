"""The program `mambaad`: `serve`, `detect`, `keys`, `archive`, and `model.cli`'s commands."""
