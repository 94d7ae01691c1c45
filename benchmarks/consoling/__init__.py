"""Measures the console: its pages with a large archive, and what a screen costs the line."""
