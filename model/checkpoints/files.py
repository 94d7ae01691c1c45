"""Weights on disk: safetensors, hashed before they are parsed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

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


def read_weights(path: Path, expected_sha256: str) -> dict[str, np.ndarray]:
    """Read a file and parse it only once its hash is the expected one.

    Raises `CheckpointError` when it is missing, altered or not a safetensors file.
    """
    return parse_weights(path, read_verified(path, expected_sha256))


def read_verified(path: Path, expected_sha256: str) -> bytes:
    """Read a file whose hash is the expected one; raises `CheckpointError` for any other."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing: fetch it (git checkout, git lfs pull, or a backup), or train or "
            "import the checkpoint again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    found = sha256(data)
    if found != expected_sha256:
        raise CheckpointError(
            f"{path} is not the file that was saved: sha256 {found[:12]}..., the manifest expects "
            f"{expected_sha256[:12]}...; fetch it again, or train or import the checkpoint again"
        )
    return data


def parse_weights(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """Parse the content of `path`; raises `CheckpointError` when it is no safetensors file."""
    try:
        return safetensors.numpy.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def sha256(data: bytes) -> str:
    """Return the hash of a file's content, in hex."""
    return hashlib.sha256(data).hexdigest()
