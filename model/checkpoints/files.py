"""Weights on disk: safetensors, hashed before they are parsed."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from model.bounded import read_regular
from model.errors import CheckpointError


def serialise(what: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the same bytes for the same weights, floats as float32 unless they are narrower.

    Raises `CheckpointError` for weights that are not finite.
    """
    plain = {}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"the {what}'s {key!r} holds NaN or infinity: it is not saved")
        dtype = np.float32 if array.dtype == np.float64 else array.dtype
        plain[key] = np.asarray(array, dtype, order="C")
    return safetensors.numpy.save(plain)


def read_verified(path: Path, expected_sha256: str, most_bytes: int) -> bytes:
    """Read a file whose hash is the expected one; raises `CheckpointError` for any other."""
    with _readable(path):
        data, _ = read_regular(path, most_bytes)
    _compare(path, sha256(data), expected_sha256)
    return data


def verify(path: Path, expected_sha256: str) -> None:
    """Raise `CheckpointError` unless a file's hash is the expected one; holds none of it."""
    with _readable(path), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _compare(path, found, expected_sha256)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise `CheckpointError` for what the system says of a file; also for a pipe or a device."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is no regular file")
        yield
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing: fetch it (git checkout, git lfs pull, or a backup), or train or "
            "import the checkpoint again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise CheckpointError(
            f"{path} is not the file that was saved: sha256 {found[:12]}..., the manifest expects "
            f"{expected[:12]}...; fetch it again, or train or import the checkpoint again"
        )


def parse_weights(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """Parse the content of `path`; raises `CheckpointError` when it is no safetensors file."""
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def sha256(data: bytes) -> str:
    """Return the hash of a file's content, in hex."""
    return hashlib.sha256(data).hexdigest()
