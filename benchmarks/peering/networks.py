"""anomalib's networks with random weights: their speed does not depend on them.

Runs in the peers' environment.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peering.subjects import SIDE
from model.imports.torchvision_ops import ensure_importable

ensure_importable()  # before timm, which anomalib imports

import timm  # noqa: E402

PATCHES = 20_000
NEIGHBOURS = 9
THREE_LAYERS = ["layer1", "layer2", "layer3"]
PATCH_CHANNELS = {"resnet18": 384, "wide_resnet50_2": 1536}


class Outputs(nn.Module):
    """A network whose answer is a tuple of tensors: score and anomaly map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return score and anomaly map."""
        outputs = self.network(image)
        return outputs.pred_score, outputs.anomaly_map


def padim(backbone: str) -> nn.Module:
    """Return PaDiM with a Gaussian at each of 64 x 64 places."""
    from anomalib.models.image.padim.torch_model import PadimModel  # noqa: PLC0415 - one of four

    network = PadimModel(layers=THREE_LAYERS, backbone=backbone, pre_trained=False).eval()
    channels, places = network.n_features, (SIDE // 4) ** 2
    network.gaussian.mean = torch.zeros(channels, places)
    network.gaussian.inv_covariance = torch.eye(channels).repeat(places, 1, 1)
    return network


def reverse_distillation(backbone: str) -> nn.Module:
    """Return Reverse Distillation, whose maps are added as in anomalib's default."""
    from anomalib.models.image.reverse_distillation.anomaly_map import (  # noqa: PLC0415
        AnomalyMapGenerationMode,
    )
    from anomalib.models.image.reverse_distillation.torch_model import (  # noqa: PLC0415
        ReverseDistillationModel,
    )

    return ReverseDistillationModel(
        backbone=backbone,
        layers=THREE_LAYERS,
        pre_trained=False,
        input_size=(SIDE, SIDE),
        anomaly_map_mode=AnomalyMapGenerationMode.ADD,
    ).eval()


def efficientad(size: str) -> nn.Module:
    """Return EfficientAD with the 384 channels of anomalib's default."""
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel  # noqa: PLC0415

    return EfficientAdModel(teacher_out_channels=384, model_size=size).eval()


def patchcore(backbone: str) -> nn.Module:
    """Return PatchCore with a memory of random patches."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: PLC0415

    layers = ["layer2", "layer3"]
    network = PatchcoreModel(
        layers=layers, backbone=backbone, pre_trained=False, num_neighbors=NEIGHBOURS
    ).eval()
    network.memory_bank = torch.randn(PATCHES, PATCH_CHANNELS[backbone])
    return network


BUILDERS: Mapping[str, tuple[Callable[[str], nn.Module], str]] = {
    "padim-resnet18": (padim, "resnet18"),
    "reverse-distillation-resnet18": (reverse_distillation, "resnet18"),
    "reverse-distillation-wide-resnet50": (reverse_distillation, "wide_resnet50_2"),
    "efficientad-small": (efficientad, "small"),
    "patchcore-resnet18": (patchcore, "resnet18"),
    "patchcore-wide-resnet50": (patchcore, "wide_resnet50_2"),
}


def build(name: str) -> nn.Module:
    """Return a subject's network; nothing is downloaded."""
    make, variant = BUILDERS[name]
    create = timm.create_model

    def without_download(*arguments: Any, **options: Any) -> nn.Module:  # noqa: ANN401 - timm's
        return create(*arguments, **{**options, "pretrained": False})

    torch.manual_seed(0)
    timm.create_model = without_download
    try:
        return Outputs(make(variant)).eval()
    finally:
        timm.create_model = create
