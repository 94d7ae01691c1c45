"""The sample layout of a TIFF, and its reader: Pillow, `tiff_samples`, or none.

Pillow silently decodes some layouts wrongly: 12 bits as if they were 16, 16-bit grey with white 0
as a negative, 16-bit planes by their low bytes. So Pillow reads only a list of layouts, which tests
compare with tifffile; `tiff_samples` reads other grey and RGB, and all other layouts are refused.
"""

from dataclasses import dataclass

from model.errors import ImageDamaged, ImageError, ImageFormatRefused
from model.images.formats.tiff_tags import Tags

GREY_INVERTED, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
ALPHA = 2
_UNCOMPRESSED, _JPEG = 1, 7
_MOST_SAMPLES = 64
_BYTEWISE = frozenset({_UNCOMPRESSED, 5, 8, 32773, 32946, 34925, 50000})
"""None, LZW, Deflate, PackBits, LZMA and Zstandard: compressions of arbitrary bytes."""
_PREDICTED = _BYTEWISE - {_UNCOMPRESSED, 32773}
_COMPRESSIONS = {
    2: "CCITT fax",
    3: "CCITT fax",
    4: "CCITT fax",
    6: "old-style JPEG",
    22610: "JPEG XR",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    33007: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of a raw photograph",
    34933: "PNG",
    34934: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PHOTOMETRICS = {
    4: "a transparency mask",
    9: "ICCLab",
    10: "ITULab",
    32803: "a sensor's colour mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a sensor's raw values",
}
_SAMPLE_FORMATS = {
    2: "signed integers",
    3: "floating point",
    5: "complex integers",
    6: "complex numbers",
}
_ADVICE = "save it as 8-bit or unsigned 16-bit grey, or as 8-bit RGB"


@dataclass(frozen=True, slots=True)
class Layout:
    """The tags of a TIFF's first image that define its samples, as in TIFF 6.0."""

    photometric: int
    bits: tuple[int, ...]
    sample_formats: frozenset[int]
    extra_samples: tuple[int, ...]
    compression: int
    predictor: int
    planar: bool
    fill_order: int
    subsampling: tuple[int, ...]
    opens_in_pillow: bool
    is_thumbnail: bool
    has_small_colours: bool

    @property
    def samples(self) -> int:
        """The number of samples per pixel."""
        return len(self.bits)

    @property
    def colours(self) -> int:
        """The number of colour samples; the others are extra samples."""
        return {GREY_INVERTED: 1, GREY: 1, PALETTE: 1, CMYK: 4}.get(self.photometric, 3)

    @property
    def has_alpha(self) -> bool:
        """Whether an extra sample is alpha; an unspecified extra sample counts as alpha.

        Premultiplied alpha does not count, because its colours are already on black.
        """
        named = self.extra_samples[:1] or (ALPHA,)
        return self.samples > self.colours and named == (ALPHA,)

    @property
    def is_pillows(self) -> bool:
        """Whether Pillow reads this layout correctly."""
        plain = self.fill_order == 1 and self.sample_formats == {1}
        if not plain or not self.opens_in_pillow or not self._may_predict:
            return False
        key = (self.photometric, self.bits, self.extra_samples)
        if self.photometric == YCBCR and self.compression != _JPEG and self.subsampling != (1, 1):
            return False
        if self.planar and self.samples > 1:
            return key in _PILLOW_PLANES
        return key in _PILLOW

    @property
    def is_samples(self) -> bool:
        """Whether `tiff_samples` reads it: grey or RGB of up to 16 bits, losslessly compressed."""
        extras = self.samples - self.colours
        return (
            self.photometric in {GREY_INVERTED, GREY, RGB}
            and self.compression in _BYTEWISE
            and len(set(self.bits)) == 1
            and 1 <= self.bits[0] <= 16
            and 0 <= extras <= (1 if self.colours == 1 else 5)
            and (self.fill_order == 1 or self.bits[0] < 8)
            and self._may_predict
        )

    @property
    def _may_predict(self) -> bool:
        """Whether its predictor is supported: none, or differences of compressed 8 or 16 bits."""
        differs = self.predictor == 2 and set(self.bits) <= {8, 16}
        return self.predictor == 1 or (differs and self.compression in _PREDICTED)

    def check(self) -> None:
        """Raise an error with the reason if no reader supports the layout.

        `ImageError` for samples of unknown range, else `ImageFormatRefused`.
        """
        if reason := self._coding_reason():
            raise ImageFormatRefused(f"a TIFF {reason} is not supported: {_ADVICE}")
        # Format 4 is "undefined", which readers treat as unsigned.
        if names := [_SAMPLE_FORMATS.get(n, "?") for n in sorted(self.sample_formats - {1, 4})]:
            kind = " and ".join(names)
            raise ImageError(f"cannot tell the value range of a TIFF of {kind}: {_ADVICE}")
        if max(self.bits) > 16:
            kind = f"{max(self.bits)} bits per sample"
            raise ImageError(f"cannot tell the value range of a TIFF of {kind}: {_ADVICE}")
        if not self.is_pillows and not self.is_samples:
            raise ImageFormatRefused(f"a TIFF {self._layout_reason()} is not supported: {_ADVICE}")

    def _coding_reason(self) -> str:
        if self.compression not in _BYTEWISE | {_JPEG}:
            name = _COMPRESSIONS.get(self.compression, f"method {self.compression}")
            return f"compressed by {name}"
        if self.photometric in _PHOTOMETRICS:
            return f"of {_PHOTOMETRICS[self.photometric]}"
        if self.is_thumbnail:
            return "that begins with a thumbnail"
        # Palettes have 16 bits. Some writers use only 8, which makes the image black.
        return "with a palette of values below 256" if self.has_small_colours else ""

    def _layout_reason(self) -> str:
        if not self._may_predict:
            return f"of predictor {self.predictor} with this depth or compression"
        if self.fill_order != 1:
            return f"of {max(self.bits)} bits per sample with the lowest bit of each byte first"
        sizes = " and ".join(map(str, sorted(set(self.bits))))
        planes = " in planes" if self.planar else ""
        return (
            f"of photometric interpretation {self.photometric} and compression {self.compression} "
            f"with {self.samples} samples of {sizes} bits{planes}"
        )


_PILLOW = {
    *((photometric, (bits,), ()) for photometric in (0, 1, 3) for bits in (1, 2, 4, 8)),
    (GREY, (16,), ()),
    (GREY, (8, 8), (ALPHA,)),
    *((RGB, (bits,) * 3, ()) for bits in (8, 16)),
    *((RGB, (bits,) * 4, extra) for bits in (8, 16) for extra in ((), (0,), (ALPHA,))),
    *((CMYK, (bits,) * 4, ()) for bits in (8, 16)),
    (YCBCR, (8, 8, 8), ()),
    (LAB, (8, 8, 8), ()),
}
_PILLOW_PLANES = {(RGB, (8, 8, 8), ()), (RGB, (8, 8, 8, 8), (ALPHA,))}


def layout_of(tags: Tags) -> Layout:
    """Return the layout from the tags, with TIFF's defaults. Raises `ImageDamaged`."""
    compression, photometric = tags.number(259, 1), tags.number(262, 0)
    default = 3 if compression in {6, _JPEG} and photometric in {RGB, YCBCR} else 1
    samples = tags.number(277, default)
    bits = tags.numbers(258) or (1,)
    if len(bits) == 1:
        bits *= min(samples, _MOST_SAMPLES)
    if not 1 <= samples <= len(bits):
        raise ImageDamaged(
            f"a TIFF of {samples} samples per pixel has the bits of only {len(bits)}"
        )
    return Layout(
        photometric=photometric,
        bits=bits[:samples],
        sample_formats=frozenset(tags.numbers(339) or (1,)),
        extra_samples=tags.numbers(338),
        compression=compression,
        predictor=tags.number(317, 1),
        planar=tags.number(284, 1) == 2,
        fill_order=tags.number(266, 1),
        subsampling=tags.numbers(530) or (2, 2),
        opens_in_pillow=not tags.is_big or tags.order == "<",
        is_thumbnail=bool(tags.number(254, 0) & 1) and (tags.has_next or 330 in tags),
        has_small_colours=photometric == PALETTE and max(tags.numbers(320) or (0,)) < 256,
    )
