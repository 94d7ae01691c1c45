"""Turn images upright by their EXIF orientation."""

from PIL import ExifTags, Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn for each orientation except 1, which is upright."""

SIDEWAYS = frozenset({5, 6, 7, 8})


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 (upright) if it is missing, damaged or invalid."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UserWarning:  # Pillow's warning about damaged EXIF, if warnings are errors
        return 1
    return int(value) if value in TURNS else 1


def turned(image: Image.Image) -> Image.Image:
    """Return the upright image, or the same object if it is upright already.

    A turned image has no EXIF, so that it is not turned again.
    """
    turn = TURNS.get(orientation_of(image))
    if turn is None:
        return image
    upright = image.transpose(turn)
    upright.info = {key: upright.info[key] for key in upright.info.keys() & {"transparency"}}
    return upright
