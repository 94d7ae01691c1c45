"""Convert samples of any depth to 8 bits."""

import numpy as np
from jaxtyping import UInt8


def high_bytes(values: np.ndarray, most: int) -> UInt8[np.ndarray, "..."]:
    """Scale samples from 0 to `most` to 16 bits and return the high bytes.

    If `most` is 2^n - 1, these are the upper eight of n bits, or the n bits repeated.
    """
    if most == 255:
        return values.astype(np.uint8)
    if most > 255 and (most + 1).bit_count() == 1:
        return (values >> (most.bit_length() - 8)).astype(np.uint8)
    return (values.astype(np.uint32) * 65535 // most >> 8).astype(np.uint8)
