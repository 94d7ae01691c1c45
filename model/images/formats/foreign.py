"""Recognise unsupported image formats by their first bytes, to name them in errors."""

_PREFIXES = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"8BPS": "Photoshop (PSD)",
    b"%PDF": "PDF",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"SIMPLE  =": "FITS",
    b"P1": "PBM",
    b"P4": "PBM",
    b"P7\n": "PAM",
    b"\0\0\1\0": "ICO",
    b"\x8aMNG": "MNG",
    b"qoif": "QOI",
    b"\x93NUMPY": "NumPy array",
    b"DDS ": "DDS",
}
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
}


def name_of(content: bytes) -> str | None:
    """Return the name of an unsupported format, or None for unknown content."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12])
    for prefix, name in _PREFIXES.items():
        if content.startswith(prefix):
            return name
    return "SVG" if b"<svg" in content[:512] else None
