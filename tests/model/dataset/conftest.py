from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    """Write noise, different for each `seed`, or grey of a `value`."""

    def write(
        path: Path, seed: int = 0, size: tuple[int, int] = (24, 16), value: int | None = None
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if value is None:
            pixels = np.random.default_rng(seed).integers(0, 255, size[::-1], np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            Image.new("L", size, value).save(path)
        return path

    return write
