"""Convert weights between torch tensors and arrays."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return tensors from any device as arrays, floats as float32."""
    return {
        key: tensor.detach().to("cpu", _plain(tensor.dtype)).numpy()
        for key, tensor in tensors.items()
    }


def to_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Copy arrays to tensors on the CPU."""
    return {key: torch.tensor(array) for key, array in arrays.items()}


def _plain(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.is_floating_point else dtype
