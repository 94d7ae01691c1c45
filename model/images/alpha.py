"""Remove transparency from images."""

from PIL import Image

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels may be transparent, by an alpha channel or a transparent colour."""
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def over_black(image: Image.Image) -> Image.Image:
    """Return the image in RGB on a black background.

    Alpha that is 0 everywhere is ignored: cameras with four bytes per pixel often leave the fourth
    byte 0.
    """
    coloured = image.convert("RGBA")
    least, most = coloured.getchannel("A").getextrema()
    if most == 0 or least == 255:
        return coloured.convert("RGB")
    black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, coloured).convert("RGB")
