"""The demonstration: makes the shipped checkpoint. Not part of the package."""
