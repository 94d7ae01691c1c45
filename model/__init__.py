"""MambaAD: the network, and everything offline about it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint
    from model.inference.detector import Detector
    from model.network import MambaAD, NetworkConfig
    from model.runtimes.torch import open_checkpoint

__all__ = ["Checkpoint", "Detector", "MambaAD", "NetworkConfig", "open_checkpoint"]

_HOMES = {
    "Checkpoint": "model.checkpoints.checkpoint",
    "Detector": "model.inference.detector",
    "MambaAD": "model.network",
    "NetworkConfig": "model.network",
    "open_checkpoint": "model.runtimes.torch",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use, so that `--help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
