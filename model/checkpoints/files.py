"""Read and write weights as safetensors; hashes are verified before parsing."""

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
    """Return deterministic safetensors bytes; float64 is stored as float32.

    Raises `CheckpointError` for weights that are not finite.
    """
    plain = {}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"cannot save the {what}: {key!r} has NaN or infinity, expected finite weights"
            )
        dtype = np.float32 if array.dtype == np.float64 else array.dtype
        plain[key] = np.asarray(array, dtype, order="C")
    return safetensors.numpy.save(plain)


def read_verified(path: Path, expected_sha256: str, most_bytes: int) -> bytes:
    """Read a file and verify its hash; raises `CheckpointError`."""
    with _readable(path):
        data, _ = read_regular(path, most_bytes)
    _compare(path, sha256(data), expected_sha256)
    return data


def verify(path: Path, expected_sha256: str) -> None:
    """Raise `CheckpointError` unless a file's hash is as expected; reads it in blocks."""
    with _readable(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _compare(path, digest, expected_sha256)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn `OSError` into `CheckpointError`; also refuses pipes and devices."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a regular file")
        yield
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing: fetch it (git checkout, git lfs pull, or a backup), or train or "
            "import the checkpoint again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _compare(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise CheckpointError(
            f"{path} is not the file that was saved: sha256 {digest[:12]}..., the manifest expects "
            f"{expected[:12]}...; fetch it again, or train or import the checkpoint again"
        )


def parse_weights(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """Parse the content of `path`; raises `CheckpointError` unless it is a safetensors file."""
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def sha256(data: bytes) -> str:
    """Return the hash of a file's content, in hex."""
    return hashlib.sha256(data).hexdigest()
