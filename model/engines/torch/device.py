"""torch's devices, their errors translated to ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.errors import BackendUnavailable, ConfigError, DeviceLost, OutOfMemory

_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


@contextmanager
def own_errors() -> Iterator[None]:
    """Translate torch's errors to `OutOfMemory` and `DeviceLost`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            "torch found no memory on the device; use smaller batches or fewer versions"
        ) from error
    except torch.AcceleratorError as error:
        raise DeviceLost(str(error)) from error
    except RuntimeError as error:
        if _NO_MEMORY not in str(error):
            raise
        raise OutOfMemory("torch found no memory for it on the CPU") from error


def check_device(device: str) -> None:
    """Raise `BackendUnavailable` if there is no such CUDA device."""
    if device == "cpu":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise BackendUnavailable(
            f"cannot use {device}: torch {torch.__version__} finds {count} CUDA devices; "
            "expected 'cpu' or a lower number"
        )


def read_device(name: str) -> torch.device:
    """Return the device; raises `ConfigError` if this machine does not have it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device {name!r}: expected cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"no device {name!r} here: found {torch.cuda.device_count()} CUDA devices"
        )
    return device


def device_answers(device: torch.device) -> bool:
    """Return whether a GPU still works, by a small operation: some errors are final."""
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
    """Free GPU memory that torch caches for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
