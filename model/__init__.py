"""MambaAD: the network, and everything offline about it."""

from typing import TYPE_CHECKING

from model.imports.lazy import lazily

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint
    from model.inference.detector import Detector
    from model.network import MambaAD, NetworkConfig
    from model.runtimes.torch import open_checkpoint

__all__ = ["Checkpoint", "Detector", "MambaAD", "NetworkConfig", "open_checkpoint"]

__getattr__ = lazily(
    __name__,
    {
        "Checkpoint": "model.checkpoints.checkpoint",
        "Detector": "model.inference.detector",
        "MambaAD": "model.network.mambaad",
        "NetworkConfig": "model.network.config",
        "open_checkpoint": "model.runtimes.torch",
    },
)
