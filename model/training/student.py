"""The trained part of a network: fusion and decoder, with disturbed inputs in training."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.network import MambaAD
from model.training.applying.disturbance import drop, jitter
from model.training.parallel.group import Group
from model.training.parallel.sharing import share_layers
from model.training.recipe.config import TrainingConfig


class Student(nn.Module):
    """The trained part of a network, which shares its modules with the network.

    Features are disturbed in training mode only.
    """

    def __init__(self, network: MambaAD, config: TrainingConfig, group: Group) -> None:
        super().__init__()
        self._disturbance = config.disturbance
        self._unused_scales = config.emphasis.unused_scales
        self._bfloat16 = config.precision == "bfloat16"
        self._group = group
        share_layers(network.fusion, group)
        share_layers(network.decoder, group)
        self.fusion = network.fusion
        self.decoder = network.decoder

    def forward(
        self, teacher: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the reconstructed features, without the finest scales that the loss ignores."""
        device = teacher[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._bfloat16 and self.training):
            features = list(teacher)
            if self.training:
                features = jitter(self._disturbance, features, self._group)
            fused = self.fusion(features)
            if self.training:
                fused = drop(self._disturbance, fused, self._group)
            rebuilt: list[Tensor] = self.decoder(fused, self._unused_scales)
        return rebuilt

    def freeze_unused(self) -> None:
        """Freeze the decoder stages of unused scales, which get no gradient."""
        stages = len(self.decoder.expands) - self._unused_scales
        for module in (*self.decoder.expands[stages:], *self.decoder.stages[stages + 1 :]):
            module.requires_grad_(False)


def distribute(student: Student, group: Group, device: torch.device) -> nn.Module:
    """Return the student, wrapped to average gradients if there are several processes.

    All processes must call the result equally often; for other uses, call the student itself.
    """
    if group.size == 1:
        return student
    return DistributedDataParallel(student, None if device.type == "cpu" else [device])


@contextmanager
def quiet_strides() -> Iterator[None]:
    """Suppress torch's warning about strides of depth-wise gradients along a side of 1.

    The warning is harmless: torch only copies such a gradient.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
        yield
