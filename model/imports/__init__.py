"""Imports large packages late, or without the parts that no program here needs."""
