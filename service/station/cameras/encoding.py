"""Pixels to the image file that the service gets."""

from service.station.cameras.sources.source import Pixels
from service.station.settings import EncodedFrames


def encoded(image: Pixels | bytes, settings: EncodedFrames) -> bytes:
    """Return a PNG or JPEG of the pixels; a file stays as it is."""
    if isinstance(image, bytes):
        return image
    import cv2  # noqa: PLC0415 - half a second, and optional

    if settings.encoding == "png":
        # Of all strategies the fastest; on pictures of cameras its files are no larger.
        suffix, flags = ".png", [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    else:
        suffix, flags = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    is_encoded, content = cv2.imencode(suffix, image, flags)
    if not is_encoded:
        raise ValueError(f"cannot encode pixels of shape {image.shape} and type {image.dtype}")
    return content.tobytes()
