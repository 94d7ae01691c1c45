"""State dicts in the published layout, filled by the rule of `tests/reference/fill.py`."""

import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

REFERENCE = Path(__file__).parent / "reference"
FULL_DEPTHS = (3, 4, 6, 3)

_spec = importlib.util.spec_from_file_location("fill", REFERENCE / "fill.py")
assert _spec is not None and _spec.loader is not None
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)

_MODULE = re.compile(r"net_s\.layers_up\.(\d)\.blocks\.(\d)\.(?:smm_blocks\.(\d))?")


@lru_cache(maxsize=1)
def orders() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "orders.npz") as stored:
        return dict(stored)


def shapes(directions: int, depths: tuple[int, ...]) -> dict[str, list[int]]:
    """With fewer directions or other depths."""
    stored = json.loads((REFERENCE / "official_keys_full.json").read_text("utf-8"))
    selected = {}
    for key, shape in stored.items():
        match = _MODULE.match(key)
        if match and not _exists(match, depths):
            continue
        selected[key] = _with_directions(key, shape, directions)
    return selected


def _with_directions(key: str, shape: list[int], directions: int) -> list[int]:
    if key.endswith(("x_proj_weight", "dt_projs_weight", "dt_projs_bias")):
        return [directions, *shape[1:]]
    if key.endswith(("A_logs", "Ds")):
        return [shape[0] // 8 * directions, *shape[1:]]
    return shape


def _exists(match: re.Match[str], depths: tuple[int, ...]) -> bool:
    depth = depths[int(match[1])]
    blocks = 3 if depth % 3 == 0 else 2
    return int(match[2]) < depth // blocks and (match[3] is None or int(match[3]) < blocks)


def state_dict(
    scan: str = "hilbert", directions: int = 8, depths: tuple[int, ...] = FULL_DEPTHS
) -> dict[str, torch.Tensor]:
    state = {}
    for key, shape in shapes(directions, depths).items():
        if "index_flat" in key:
            order = orders()[f"{scan}_{round(shape[-1] ** 0.5)}"].astype(np.int64)
            order = np.argsort(order) if key.endswith("_inv") else order
            state[key] = torch.from_numpy(order).view(1, 1, -1)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        else:
            state[key] = torch.from_numpy(fill.weight(key, tuple(shape)))
    return state


def image() -> torch.Tensor:
    return torch.from_numpy(fill.image())
