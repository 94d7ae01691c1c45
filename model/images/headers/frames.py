"""Check which kinds of JPEG frames are supported (ITU-T T.81, table B.1; T.87)."""

from model.errors import ImageFormatRefused

JPEG_LS = 0xF7
_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended and progressive, with Huffman or arithmetic coding."""
_LOSSLESS = frozenset({0xC3, 0xCB})
_ADVICE = "save it as 8-bit JPEG, or as PNG or TIFF"


def check_frame(marker: int, bits: int) -> None:
    """Raise `ImageFormatRefused` for a frame that is not decoded, or not correctly."""
    if marker == JPEG_LS:
        raise ImageFormatRefused(f"a JPEG-LS image is not supported: {_ADVICE}")
    if marker in _LOSSLESS:
        raise ImageFormatRefused(f"a lossless JPEG is not supported: {_ADVICE}")
    if marker not in _READ:
        raise ImageFormatRefused(f"a hierarchical JPEG is not supported: {_ADVICE}")
    if bits != 8:
        raise ImageFormatRefused(
            f"a JPEG of {bits} bits per sample is not supported, only 8 bits: {_ADVICE}"
        )
