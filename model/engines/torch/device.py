"""What torch says of its devices, in our own words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.errors import BackendUnavailable, DeviceLost, OutOfMemory

_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise `OutOfMemory` and `DeviceLost` for what torch calls them."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory("torch found no memory for it on the device") from error
    except torch.AcceleratorError as error:
        raise DeviceLost(str(error)) from error
    except RuntimeError as error:
        if _NO_MEMORY not in str(error):
            raise
        raise OutOfMemory("torch found no memory for it on the CPU") from error


def check_device(device: str) -> None:
    """Raise `BackendUnavailable` for a CUDA device that is not there."""
    if device == "cpu":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise BackendUnavailable(
            f"cannot use {device}: torch {torch.__version__} finds {count} CUDA devices here"
        )


def device_answers(device: torch.device) -> bool:
    """Ask a GPU for something small: after some errors it never answers again."""
    if device.type != "cuda":
        return True
    try:
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False
    return True


def release_cached(device: torch.device) -> None:
    """Give back memory of a GPU that torch only keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
