"""Which version of which checkpoint serves a category, and how that changes."""
