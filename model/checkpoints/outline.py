"""The shapes of a network's tensors without their memory, to check a file's header."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from model.checkpoints.headers import FLOATS, INTEGERS, Check, Header, Tensor, exactly
from model.errors import ModelError
from model.network import MambaAD, NetworkConfig

logger = logging.getLogger("model.checkpoints")

_ANY_SIZE = (64, 64)
"""Weights do not depend on the image size, and every scan has an order for this one."""

_DRAWS = {torch.Tensor.normal_, torch.Tensor.uniform_}


@dataclass(frozen=True, slots=True)
class Outline:
    """The tensors of a network's encoder file and of its trained weights."""

    encoder: Header
    channels: tuple[int, int, int]
    trained: Header

    @classmethod
    def of(cls, config: NetworkConfig) -> "Outline | None":
        """Build a network on torch's meta device and read its shapes.

        Returns None if timm cannot build the encoder there. Raises `ModelError` for an encoder that
        it cannot build at all.
        """
        return _outline(replace(config, image_size=_ANY_SIZE))

    def check_encoder(self, path: Path) -> Check:
        """Return the check of an encoder's file, with or without means and deviations."""
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
        """Return the check of the file with trained weights."""
        return exactly(path, self.trained)


class _Unfilled(TorchFunctionMode):
    """Draws no initial weights: on the meta device, that would import torch's compiler first."""

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:  # fmt: skip
        given = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", "") == torch.nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@lru_cache(maxsize=32)  # each takes a few tenths of a second
def _outline(config: NetworkConfig) -> Outline | None:
    try:
        with torch.device("meta"), _Unfilled():
            network = MambaAD(config)
    except ModelError:
        raise
    except Exception:  # some of timm's networks need tensor values to build
        logger.warning(
            "cannot build %s on the meta device: file headers are not checked before reading",
            config,
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
