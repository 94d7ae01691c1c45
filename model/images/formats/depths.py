"""Samples of any depth in 8 bits."""

import numpy as np
from jaxtyping import UInt8


def high_bytes(values: np.ndarray, most: int) -> UInt8[np.ndarray, "..."]:
    """Return samples from 0 to `most` as their high bytes when spread over 16 bits.

    Where `most` is 2^n - 1 those are the upper eight of n bits, or n bits repeated.
    """
    if most == 255:
        return values.astype(np.uint8)
    if most > 255 and (most + 1).bit_count() == 1:
        return (values >> (most.bit_length() - 8)).astype(np.uint8)
    return (values.astype(np.uint32) * 65535 // most >> 8).astype(np.uint8)
