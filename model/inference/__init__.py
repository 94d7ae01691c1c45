"""The one path from pixels to a result, above any engine."""
