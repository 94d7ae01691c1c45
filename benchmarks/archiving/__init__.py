"""Measures the archive: what it costs an inspection, and how fast it is searched."""
