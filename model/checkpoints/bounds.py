"""Limits for untrusted manifests and files of the store."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.bounded import strict_json
from model.errors import CheckpointError
from model.limits import MOST_BLOCKS, MOST_SIDE_PX, MOST_STATES

MOST_MANIFEST_BYTES = 2**23
"""A typical manifest has 10 kB, or 1 MB after a hundred calibrations of 15 categories."""

_FAULTS_NAMED = 10

_Side = Annotated[int, Field(ge=1, le=MOST_SIDE_PX)]
_Blocks = Annotated[int, Field(ge=1, le=MOST_BLOCKS)]


class _NetworkBounds(BaseModel):
    """The largest network that a manifest may describe."""

    model_config = ConfigDict(extra="ignore", strict=True)

    encoder: str = Field("", max_length=200)
    image_size: tuple[_Side, _Side] = (1, 1)
    scan: str = Field("", max_length=100)
    directions: int = Field(1, ge=1, le=64)
    depths: tuple[_Blocks, _Blocks, _Blocks, _Blocks] = (1, 1, 1, 1)
    state_size: int = Field(1, ge=1, le=MOST_STATES)
    drop_path: float = Field(0.0, ge=0, lt=1)


def check_network(values: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a network beyond the limits.

    Full validation is in `NetworkConfig`, which needs torch; manifests are also read without it.
    """
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    try:
        _NetworkBounds.model_validate(tuples)
    except ValidationError as error:
        raise ValueError(f"network: {faults(error)}") from error


def parse_manifest(text: str | bytes) -> Mapping[str, Any]:
    """Return a manifest's values; raises `CheckpointError` for invalid or too large JSON."""
    if len(text) > MOST_MANIFEST_BYTES:
        raise CheckpointError(
            f"the manifest has {len(text)} bytes, expected at most {MOST_MANIFEST_BYTES}"
        )
    try:
        values = strict_json(text)
    except ValueError as error:
        raise CheckpointError(f"not valid JSON: {error}") from error
    if not isinstance(values, Mapping):
        raise CheckpointError(f"expected a JSON object, got {type(values).__name__}")
    return values


def faults(error: ValidationError) -> str:
    """Describe the first few faults; every value may have one."""
    texts = [
        f"{'.'.join(map(str, fault['loc']))[:200] or 'manifest'}: {fault['msg'][:1000]}"
        for fault in error.errors(include_url=False, include_context=False)[:_FAULTS_NAMED]
    ]
    more = error.error_count() - len(texts)
    return "; ".join([*texts, f"and {more} more"] if more else texts)


def check_inside(path: Path, root: Path) -> None:
    """Raise `CheckpointError` for a link to a file outside the store."""
    real = os.path.realpath(path)  # unlike `Path.resolve`, does not raise for a link to itself
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise CheckpointError(f"{path} is a link out of the store, to {real}: copy the file there")
