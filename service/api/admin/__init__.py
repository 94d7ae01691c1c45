"""The door for operators: load versions, choose which one serves a category, set thresholds."""
