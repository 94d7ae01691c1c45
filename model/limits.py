"""Upper limits for values in a checkpoint, far above real ones and far below harmful ones.

Training and loading apply the same limits.
"""

MOST_SIDE_PX = 2048
"""Side of the network's input."""

MOST_STATES = 256
"""States per channel in a state-space block."""

MOST_BLOCKS = 48
"""Blocks in one decoder stage."""

MOST_SIGMA_PX = 256.0
"""Sigma of a blur."""

MOST_GOLDEN_IMAGES = 256
"""Golden images of one category."""

MOST_PATCHES = 2000
"""Remembered patches of one category: with more, an image takes tens of milliseconds longer."""

MOST_MEMORY_WEIGHT = 1000.0
"""Weight of the memory's map."""

LARGEST_NUMBER = 1e30
"""Threshold, scale or weight: float32 can hold it, and float64 its square."""
