"""Transparency, of which an inspection wants none."""

from PIL import Image

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels may be transparent: by a channel, or by a colour that is named so."""
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def over_black(image: Image.Image) -> Image.Image:
    """Return the image in RGB, laid over black; its colours where nothing of it can be seen.

    Cameras that write four bytes a pixel often leave the fourth 0: alpha that is 0 everywhere hides
    the part and says nothing about it.
    """
    coloured = image.convert("RGBA")
    least, most = coloured.getchannel("A").getextrema()
    if most == 0 or least == 255:
        return coloured.convert("RGB")
    black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, coloured).convert("RGB")
