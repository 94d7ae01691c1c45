"""Image files that cost more than their size suggests, and strategies that vary them.

Nothing here needs the service: load tests may post what `hostile_images()` draws, other tests may
check it against limits. Each builder returns a complete, valid file unless its name says otherwise.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO

import numpy as np
from hypothesis import strategies as st
from PIL import Image

ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7
_LETTER = {ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "I", UNDEFINED: "B"}


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    encoded = BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


def zeros(count: int) -> bytes:
    """Return compressed zeros, made without holding them all in memory."""
    writer = zlib.compressobj(1)
    piece = bytes(2**20)
    parts = [writer.compress(piece) for _ in range(count // len(piece))]
    return b"".join([*parts, writer.compress(bytes(count % len(piece))), writer.flush()])


# PNG


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (*chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data)
        parts.append(struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def png_header(
    width: int, height: int, depth: int = 8, colour: int = 0, interlaced: bool = False
) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def black_png(
    width: int, height: int, depth: int = 8, colour: int = 0, idat_bytes: int = 2**20
) -> bytes:
    """A PNG of zeros, in chunks of `idat_bytes`."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = zeros(height * (1 + (width * channels * depth + 7) // 8))
    pieces = [(b"IDAT", data[at : at + idat_bytes]) for at in range(0, len(data), idat_bytes)]
    palette = [(b"PLTE", bytes(768))] if colour == 3 else []
    return png(png_header(width, height, depth, colour), *palette, *pieces)


def png_of_many_chunks(count: int, kind: bytes = b"tEXt") -> bytes:
    data = {b"tEXt": b"k\0v", b"zTXt": b"k\0\0" + zlib.compress(b"v"), b"prVt": b""}.get(kind, b"")
    header = png_header(8, 8)
    pixels = zlib.compress(bytes(8 * 9))
    if kind == b"IDAT":  # empty chunks after the pixels
        return png(header, (b"IDAT", pixels), *[(b"IDAT", b"")] * count)
    return png(header, *[(kind, data)] * count, (b"IDAT", pixels))


def animated_png(width: int, height: int, frames: int) -> bytes:
    pictures = [Image.new("L", (width, height), level % 256) for level in range(frames)]
    return saved(pictures[0], "PNG", save_all=True, append_images=pictures[1:])


# JPEG


def jpeg_of_many_scans(width: int, height: int, scans: int, mode: str = "L") -> bytes:
    """A progressive JPEG that repeats its last scan, a refinement."""
    content = saved(Image.new(mode, (width, height), 128), "JPEG", progressive=True, quality=75)
    last = content.rindex(b"\xff\xda")
    more = max(0, scans - content.count(b"\xff\xda"))
    return content[:-2] + content[last:-2] * more + content[-2:]


def jpeg_with(segments: bytes) -> bytes:
    """A small JPEG with these bytes after its first marker."""
    content = saved(Image.new("L", (16, 16), 128), "JPEG")
    return content[:2] + segments + content[2:]


def jpeg_of_many_segments(count: int, marker: int = 0xE5) -> bytes:
    return jpeg_with(bytes([0xFF, marker, 0, 2]) * count)


def jpeg_of_much_padding(count: int) -> bytes:
    return jpeg_with(b"\xff" * count)


def jpeg_of_restarts(width: int, height: int) -> bytes:
    """A restart marker after each block."""
    picture = Image.new("L", (width, height), 128)
    return saved(picture, "JPEG", restart_marker_blocks=1)


def jpeg_of_exif(exif: bytes) -> bytes:
    pieces = [exif[at : at + 60_000] for at in range(0, len(exif), 60_000)]
    return jpeg_with(
        b"".join(
            b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + b"Exif\0\0" + piece
            for piece in pieces
        )
    )


# TIFF


def tiff(
    entries: Iterable[tuple[int, int, tuple[int, ...] | bytes]],
    data: bytes = b"",
    *,
    following: int = 0,
    big: bool = False,
) -> bytes:
    """Return a little-endian TIFF with one directory, and `data` at offset 16.

    `following` is the offset of the next directory. An entry is (tag, type, values).
    """
    listed = sorted(entries, key=lambda entry: entry[0])[: None if big else 65_535]
    room, entry_bytes = (8, 20) if big else (4, 12)
    start = 16 + len(data) + len(data) % 2
    behind = start + (8 if big else 2) + entry_bytes * len(listed) + room
    count_letter, offset_letter = ("Q", "Q") if big else ("H", "I")
    table, tail = [struct.pack("<" + count_letter, len(listed))], []
    for tag, kind, values in listed:
        count = len(values) // 2 if kind == RATIONAL else len(values)
        packed = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"<{len(values)}{_LETTER[kind]}", *values)
        )
        if len(packed) > room:
            place = struct.pack("<" + offset_letter, behind + sum(map(len, tail)))
            tail.append(packed + bytes(len(packed) % 2))
        else:
            place = packed.ljust(room, b"\0")
        table.append(struct.pack("<HH" + offset_letter, tag, kind, count) + place)
    table.append(struct.pack("<" + offset_letter, following))
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    head += struct.pack("<" + offset_letter, start)
    return b"".join([head.ljust(16, b"\0"), data, bytes(len(data) % 2), *table, *tail])


def grey_tiff(
    width: int,
    height: int,
    *,
    rows_per_strip: int | None = None,
    tile: tuple[int, int] | None = None,
    compression: int = 8,
    more: Mapping[int, tuple[int, tuple[int, ...] | bytes]] | None = None,
    big: bool = False,
    packed: bytes | None = None,
    share_data: bool = True,
) -> bytes:
    """All strips or tiles share the same data."""
    across, down = tile or (width, rows_per_strip or height)
    pieces = -(-width // across) * -(-height // down)
    if packed is None:
        packed = zeros(across * down) if compression == 8 else bytes(across * down)
    step = 0 if share_data else len(packed)
    data = packed if share_data else packed * pieces
    offsets, counts = tuple(16 + step * i for i in range(pieces)), (len(packed),) * pieces
    entries: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
        256: (LONG, (width,)),
        257: (LONG, (height,)),
        258: (SHORT, (8,)),
        259: (SHORT, (compression,)),
        262: (SHORT, (1,)),
        277: (SHORT, (1,)),
    }
    if tile:
        entries |= {322: (LONG, (across,)), 323: (LONG, (down,))}
        entries |= {324: (LONG, offsets), 325: (LONG, counts)}
    else:
        entries |= {273: (LONG, offsets), 278: (LONG, (down,)), 279: (LONG, counts)}
    entries |= more or {}
    return tiff([(tag, *entry) for tag, entry in entries.items()], data, big=big)


# BMP and WebP


def run_length_bmp(width: int, height: int) -> bytes:
    """RLE8 that ends at once, without a pixel."""
    palette = b"".join(bytes([i, i, i // 2, 0]) for i in range(256))
    data = b"\0\1"
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 2835, 2835, 256, 256
    )
    offset = 14 + len(header) + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    return head + header + palette + data


def hollow_bmp(width: int, height: int, bits: int = 24) -> bytes:
    """Headers only."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def lossless_webp(width: int, height: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return saved(Image.fromarray(noise, "RGBA"), "WEBP", lossless=True, method=0, quality=0)


def animated_webp(width: int, height: int, frames: int) -> bytes:
    pictures = [Image.new("RGB", (width, height), (level % 256, 0, 0)) for level in range(frames)]
    return saved(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], lossless=True)


# Strategies

_SIDES = st.one_of(
    st.integers(1, 64),
    st.integers(1, 3_000),
    st.sampled_from([1, 20_000, 65_500, 65_535, 65_536, 1_000_000, 50_000_000, 2**31 - 1]),
)
_COUNTS = st.one_of(st.integers(0, 50), st.sampled_from([1_000, 9_999, 10_001, 30_000, 120_000]))


@st.composite
def png_images(draw: st.DrawFn) -> bytes:
    """Any header with few bytes, many chunks, or pixels that fit the header."""
    width, height = draw(_SIDES), draw(_SIDES)
    depth, colour = draw(
        st.sampled_from([(1, 0), (8, 0), (16, 0), (8, 2), (8, 3), (8, 6), (16, 6)])
    )
    match draw(st.sampled_from(["hollow", "chunks", "whole", "animated"])):
        case "hollow":
            header = png_header(width, height, depth, colour, draw(st.booleans()))
            return png(header, (b"IDAT", zlib.compress(b"")))
        case "chunks":
            chunk = draw(st.sampled_from([b"tEXt", b"zTXt", b"prVt", b"IDAT"]))
            return png_of_many_chunks(draw(_COUNTS), chunk)
        case "animated":
            return animated_png(16, 16, draw(st.integers(1, 20)))
    height = min(height, max(1, 4_000_000 // width))
    width = min(width, 4_000_000)
    return black_png(width, height, depth, colour, draw(st.sampled_from([64, 8192, 2**20])))


@st.composite
def jpeg_images(draw: st.DrawFn) -> bytes:
    """Many scans, segments, padding bytes or restart markers, or an odd EXIF."""
    side = draw(st.integers(1, 300))
    match draw(st.sampled_from(["scans", "segments", "padding", "restarts", "exif"])):
        case "scans":
            return jpeg_of_many_scans(
                side, side, draw(_COUNTS), draw(st.sampled_from(["L", "RGB"]))
            )
        case "segments":
            marker = draw(st.sampled_from([0xE0, 0xE2, 0xFE]))
            return jpeg_of_many_segments(draw(_COUNTS), marker)
        case "padding":
            return jpeg_of_much_padding(draw(_COUNTS))
        case "restarts":
            return jpeg_of_restarts(side, side)
    return jpeg_of_exif(draw(exif_directories()))


@st.composite
def exif_directories(draw: st.DrawFn) -> bytes:
    """All orientations, pointers to itself, countless entries."""
    pointers = st.sampled_from([0, 8, 16, 2**31])
    entries: list[tuple[int, int, tuple[int, ...] | bytes]] = [
        (274, draw(st.sampled_from([SHORT, LONG])), (draw(st.integers(0, 65_535)),)),
        (34665, LONG, (draw(pointers),)),
        (34853, LONG, (draw(pointers),)),
    ]
    entries += [(40_000 + i % 20_000, SHORT, (1,)) for i in range(draw(_COUNTS))]
    return tiff(entries, following=draw(pointers))


@st.composite
def tiff_images(draw: st.DrawFn) -> bytes:
    """Many strips or tiles, tiles far larger than the image, odd entries."""
    width, height = draw(st.integers(1, 200)), draw(_SIDES)
    compression = draw(st.sampled_from([1, 5, 7, 8, 32_773, 34_925, 50_000, 99]))
    wide = draw(st.sampled_from([16, 256, 4_096, 65_520]))
    more: dict[int, tuple[int, tuple[int, ...] | bytes]] = {}
    if draw(st.booleans()):
        more[258] = (SHORT, (8,) * draw(st.sampled_from([1, 3, 200_000])))
    if draw(st.booleans()):
        more[34665] = (LONG, (draw(st.sampled_from([0, 8, 16, 2**32 - 1])),))
    if draw(st.booleans()):
        more |= {40_000 + i % 20_000: (RATIONAL, (1, 1)) for i in range(draw(_COUNTS))}
    tiled = draw(st.booleans())
    if tiled:
        height = min(height, 1_000)
    return grey_tiff(
        width,
        min(height, 120_000),
        rows_per_strip=draw(st.sampled_from([1, 7, 100, 2**31])),
        tile=(wide, wide) if tiled else None,
        compression=compression,
        more=more,
        big=draw(st.booleans()),
        packed=draw(st.sampled_from([b"", b"\0" * 64, zeros(2**20)])),
    )


@st.composite
def bmp_images(draw: st.DrawFn) -> bytes:
    """Run lengths, and headers without pixels, of negative and enormous sides."""
    width, height = draw(_SIDES), draw(_SIDES)
    if draw(st.booleans()):
        return run_length_bmp(width, height)
    sign = draw(st.sampled_from([1, -1]))
    return hollow_bmp(width, sign * height, draw(st.sampled_from([1, 4, 8, 16, 24, 32])))


@st.composite
def webp_images(draw: st.DrawFn) -> bytes:
    """Lossless noise, many frames, or a header that declares too much."""
    content = bytearray(
        animated_webp(draw(st.integers(1, 64)), 16, draw(st.integers(1, 30)))
        if draw(st.booleans())
        else lossless_webp(draw(st.integers(1, 64)), draw(st.integers(1, 64)))
    )
    if content[12:16] == b"VP8X" and draw(st.booleans()):
        content[24:27] = (draw(_SIDES) % 2**24).to_bytes(3, "little")
    return bytes(content)


def hostile_images() -> st.SearchStrategy[bytes]:
    return st.one_of(png_images(), jpeg_images(), tiff_images(), bmp_images(), webp_images())
