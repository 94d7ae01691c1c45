"""The demonstration: how the shipped checkpoint is made. Not part of the package."""
