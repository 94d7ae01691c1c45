"""The device that a training process computes on."""

import torch

from model.errors import ConfigError


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
