"""Which way an image is meant to be seen, and turned that way."""

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
"""How an image is turned upright from each orientation but 1, which is upright."""

SIDEWAYS = frozenset({5, 6, 7, 8})


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 (upright) where it is missing, damaged or no such."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UserWarning:  # where warnings are errors: Pillow's of damaged EXIF
        return 1
    return int(value) if value in TURNS else 1


def turned(image: Image.Image) -> Image.Image:
    """Return the image as its EXIF says that it is to be seen; itself where it is upright.

    What was turned has no EXIF any more, so that nobody turns it again.
    """
    turn = TURNS.get(orientation_of(image))
    if turn is None:
        return image
    upright = image.transpose(turn)
    upright.info = {key: upright.info[key] for key in upright.info.keys() & {"transparency"}}
    return upright
