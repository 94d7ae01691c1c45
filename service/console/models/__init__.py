"""The page Models: versions, what serves where, canary and shadow."""
