"""The largest numbers that a checkpoint may ask for: far above real ones, far below what harms.

Whoever trains meets the same limits as whoever loads what somebody else trained.
"""

MOST_SIDE_PX = 2048
"""Of a network's input."""

MOST_STATES = 256
"""Of a channel in a state-space block."""

MOST_BLOCKS = 48
"""In one stage of the decoder."""

MOST_SIGMA_PX = 256.0
"""Of a blur."""

MOST_GOLDEN_IMAGES = 256
"""Of one category."""

LARGEST_NUMBER = 1e30
"""Of thresholds, scales and weights: float32 holds it, and its square is still a float64."""
