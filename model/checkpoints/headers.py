"""Check the header of a safetensors file against the manifest before reading tensors.

A small manifest or header can request any amount of memory. So the file's size, its header and the
expected shapes must agree before the file is read, hashed and parsed.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias

from model.bounded import strict_json
from model.checkpoints.bounds import check_inside
from model.checkpoints.files import read_verified, verify
from model.errors import CheckpointError

_MOST_HEADER_BYTES = 2**23
_LENGTH = struct.Struct("<Q")
_MOST_DIMENSIONS = 8

BYTES_OF = {
    "BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "U16": 2, "I16": 2,
    "F32": 4, "U32": 4, "I32": 4, "F64": 8, "U64": 8, "I64": 8,
}  # fmt: skip
"""Bytes per element of the tensor types that NumPy supports, by their names in a header."""

FLOATS = frozenset({"F16", "F32"})
INTEGERS = frozenset({"I32", "I64"})
PIXELS = frozenset({"U8"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's shape and allowed `dtypes`, as in a header or as the manifest requires."""

    dtypes: frozenset[str]
    shape: tuple[int, ...]

    def fits(self, expected: "Tensor") -> bool:
        """Whether shape and type are as expected."""
        return self.shape == expected.shape and self.dtypes <= expected.dtypes


Header: TypeAlias = Mapping[str, Tensor]
Check: TypeAlias = Callable[[Header], None]
"""Raises `CheckpointError` for a header that contradicts the manifest."""


def read_checked(path: Path, sha256: str, check: Check, root: Path) -> bytes:
    """Read a file of the store after checking its header and hash.

    Raises `CheckpointError`; if both are wrong, for the hash, because an altered or truncated file
    is the better explanation. Allocates memory only for a file of the expected size.
    """
    check_inside(path, root)
    try:
        header, size = read_header(path)
        check(header)
    except CheckpointError:
        verify(path, sha256)
        raise
    return read_verified(path, sha256, size)


def read_header(path: Path) -> tuple[dict[str, Tensor], int]:
    """Read the names, types and shapes of a file's tensors, and the file's size.

    Raises `CheckpointError` for another format, or if the size does not match the tensors.
    """
    try:
        content, size = _header_bytes(path)
        values = strict_json(content)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a safetensors file: its header is not a JSON object")
    values.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in values.items():
        tensors[name], nbytes = _tensor(path, name, entry)
        end += nbytes
    if _LENGTH.size + len(content) + end != size:
        raise CheckpointError(
            f"{path} has {size} bytes, but its header describes "
            f"{_LENGTH.size + len(content) + end}: it is truncated, or not a safetensors file"
        )
    return tensors, size


def _header_bytes(path: Path) -> tuple[bytes, int]:
    """Return the header and the file's size; raises `OSError` and `ValueError`."""
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise ValueError("the file is shorter than a header")
        (length,) = _LENGTH.unpack(start)
        if length > _MOST_HEADER_BYTES:
            raise ValueError(
                f"the header has {length} bytes, expected at most {_MOST_HEADER_BYTES}"
            )
        return file.read(length), path.stat().st_size


def _tensor(path: Path, name: str, entry: object) -> tuple[Tensor, int]:
    """Return one tensor and its number of bytes."""
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(dtype, str) or dtype not in BYTES_OF or not _is_shape(shape):
        raise CheckpointError(
            f"{path}: the tensor {name[:100]!r} has type {dtype!r:.40} and shape {shape!r:.100}; "
            f"expected one of {', '.join(BYTES_OF)} and up to {_MOST_DIMENSIONS} dimensions"
        )
    sizes = tuple(shape)  # type: ignore[arg-type]
    return Tensor(frozenset({dtype}), sizes), prod(sizes) * BYTES_OF[dtype]


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**40 for size in shape)
    )


def exactly(path: Path, expected: Header) -> Check:
    """Return a check that a file has exactly these tensors."""

    def check(header: Header) -> None:
        differing = sorted(header.keys() ^ expected.keys())
        both = header.keys() & expected.keys()
        differing += sorted(name for name in both if not header[name].fits(expected[name]))
        if differing:
            named = [name[:80] for name in differing[:3]]
            raise CheckpointError(
                f"{path} and its manifest do not fit together: {len(differing)} tensors differ, "
                f"such as {named}; save or import the checkpoint again"
            )

    return check
