"""The shapes of a network's tensors, without the tensors: to hold a file's header against."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from model.checkpoints.headers import FLOATS, INTEGERS, Check, Header, Tensor, exactly
from model.errors import ModelError
from model.network import MambaAD, NetworkConfig

logger = logging.getLogger("model.checkpoints")

_ANY_SIZE = (64, 64)
"""No weight depends on the size of the images, and every scan has an order for this one."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What the files of a network's encoder and of the rest have to hold."""

    encoder: Header
    channels: tuple[int, int, int]
    trained: Header

    @classmethod
    def of(cls, config: NetworkConfig) -> "Outline | None":
        """Build a network without memory for its weights, and look at it.

        None where timm cannot build the encoder so. Raises `ModelError` for one it cannot build.
        """
        return _outline(replace(config, image_size=_ANY_SIZE))

    def check_encoder(self, path: Path) -> Check:
        """Return the check of an encoder's file, with means and deviations or without."""
        standardised = {
            f"feature_{what}_{i}": Tensor(FLOATS, (channels, 1, 1))
            for what in ("mean", "deviation")
            for i, channels in enumerate(self.channels)
        }

        def check(header: Header) -> None:
            extra = standardised if standardised.keys() & header.keys() else {}
            exactly(path, {**self.encoder, **extra})(header)

        return check

    def check_trained(self, path: Path) -> Check:
        """Return the check of the file of what was trained."""
        return exactly(path, self.trained)


@lru_cache(maxsize=32)  # a few tenths of a second for each
def _outline(config: NetworkConfig) -> Outline | None:
    try:
        with torch.device("meta"):
            network = MambaAD(config)
    except ModelError:
        raise
    except Exception:  # timm's networks run code of their own, some of it on values
        logger.warning(
            "%s cannot be built without memory: its files are not checked before", config
        )
        return None
    encoder = network.encoder
    trained = _tensors(network.trained_state())
    return Outline(_tensors(encoder.state_dict()), encoder.channels, trained)


def accept(_: Header) -> None:
    """Accept every header."""


def _tensors(state: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    return {
        name: Tensor(FLOATS if tensor.is_floating_point() else INTEGERS, tuple(tensor.shape))
        for name, tensor in state.items()
    }
