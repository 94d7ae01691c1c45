"""Writes TIFF files of any layout, including those that tifffile does not write.

Tests first let tifffile read them back: its samples are the reference.
"""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import tifffile

COMPRESSIONS = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32773: imagecodecs.packbits_encode,
    32946: zlib.compress,
    34925: imagecodecs.lzma_encode,
    50000: imagecodecs.zstd_encode,
}


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Return one row of samples as bytes: 8 and 16 bits separately, other depths one by one."""
    if bits == 8:
        return values.astype(np.uint8).tobytes()
    if bits == 16:
        return values.astype(f"{order}u2").tobytes()
    single = (values.ravel()[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(single.astype(np.uint8).ravel()).tobytes()


def write_tiff(
    values: np.ndarray,
    *,
    bits: int,
    photometric: int,
    order: str = "<",
    big: bool = False,
    compression: int = 1,
    predictor: int = 1,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows_per_strip: int = 7,
    fill_order: int = 1,
    extra_samples: tuple[int, ...] = (),
    sample_format: int | None = None,
    orientation: int | None = None,
    colours: np.ndarray | None = None,
) -> bytes:
    height, width, samples = values.shape
    planes = [values[..., i : i + 1] for i in range(samples)] if planar else [values]
    down, across = tile or (rows_per_strip, width)
    pieces = []
    for plane in planes:
        for top in range(0, height, down):
            for left in range(0, width, across):
                piece = plane[top : top + down, left : left + across]
                if tile:
                    missing = (down - piece.shape[0], across - piece.shape[1])
                    piece = np.pad(piece, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
                if predictor == 2:
                    before = np.zeros_like(piece[:, :1])
                    piece = np.diff(piece, axis=1, prepend=before)  # wraps on purpose
                raw = b"".join(packed(row, bits, order) for row in piece)
                content = COMPRESSIONS[compression](raw)
                if fill_order == 2:
                    flipped = np.unpackbits(np.frombuffer(content, np.uint8)).reshape(-1, 8)
                    content = np.packbits(flipped[:, ::-1]).tobytes()
                pieces.append(content)
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * samples),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        266: ("H", [fill_order]),
        277: ("H", [samples]),
        284: ("H", [2 if planar else 1]),
        317: ("H", [predictor]),
        322 if tile else 278: ("I", [across if tile else down]),
    }
    if tile:
        fields[323] = ("I", [down])
    for tag, numbers in ((338, extra_samples), (320, colours)):
        if numbers is not None and len(numbers):
            fields[tag] = ("H", [int(n) for n in numbers])
    if sample_format is not None:
        fields[339] = ("H", [sample_format] * samples)
    if orientation is not None:
        fields[274] = ("H", [orientation])
    return _file(fields, pieces, 324 if tile else 273, order, big)


def _file(
    fields: dict[int, tuple[str, list[int]]],
    pieces: list[bytes],
    places: int,
    order: str,
    big: bool,
) -> bytes:
    out = BytesIO()
    mark = b"II" if order == "<" else b"MM"
    out.write(
        mark + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    )
    at = []
    for piece in pieces:
        at.append(out.tell())
        out.write(piece + bytes(len(piece) % 2))
    number = "Q" if big else "I"
    fields[places] = (number, at)
    fields[325 if places == 324 else 279] = (number, [len(piece) for piece in pieces])
    kinds = {"H": 3, "I": 4, "Q": 16}
    room = 8 if big else 4
    entries = b""
    for tag, (letter, numbers) in sorted(fields.items()):
        content = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(content) > room:
            where = out.tell()
            out.write(content + bytes(len(content) % 2))
            content = struct.pack(order + number, where)
        entries += struct.pack(f"{order}HH{number}", tag, kinds[letter], len(numbers))
        entries += content.ljust(room, b"\0")
    first = out.tell()
    out.write(struct.pack(order + ("Q" if big else "H"), len(fields)) + entries + bytes(room))
    out.seek(8 if big else 4)
    out.write(struct.pack(order + number, first))
    return out.getvalue()


def read_back(content: bytes) -> np.ndarray:
    """As tifffile reads them: (height, width, samples)."""
    with tifffile.TiffFile(BytesIO(content)) as file:
        page = file.pages[0]
        values = page.asarray()
        if page.samplesperpixel > 1 and page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)
    return values.reshape(*values.shape[:2], -1)
