"""What is measured: a row of the table for each subject, a column for each way to compute it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

TORCH, OPENVINO, OPENVINO_DEFAULT = "torch", "openvino-float32", "openvino-default"
WAYS = {
    TORCH: "torch, float32",
    OPENVINO: "OpenVINO, float32",
    OPENVINO_DEFAULT: "OpenVINO, its default",
}
SIDE = 256

PEERS = {
    "padim-resnet18": "anomalib PaDiM, ResNet18",
    "reverse-distillation-resnet18": "anomalib Reverse Distillation, ResNet18",
    "reverse-distillation-wide-resnet50": "anomalib Reverse Distillation, WideResNet50",
    "efficientad-small": "anomalib EfficientAD, small",
    "patchcore-resnet18": "anomalib PatchCore, ResNet18, 20,000 patches",
    "patchcore-wide-resnet50": "anomalib PatchCore, WideResNet50, 20,000 patches",
}
SHIPPED, SHIPPED_WITH_MEMORY, PAPER = "shipped", "shipped-memory", "paper"
OURS = {
    SHIPPED: "the shipped checkpoint",
    SHIPPED_WITH_MEMORY: "the shipped checkpoint with a memory of 2,000 patches",
    PAPER: "the paper's configuration",
}
SUBJECTS: Mapping[str, str] = PEERS | OURS


@dataclass(frozen=True, slots=True)
class Host:
    """A process that computes some subjects: its module, and whether it needs the environment."""

    module: str
    is_peer: bool
    ways: tuple[str, ...]
    subjects: Mapping[str, str]


HOSTS = (
    Host("benchmarks.peering.torch_peers", True, (TORCH,), PEERS),
    Host("benchmarks.peering.openvino_peers", True, (OPENVINO, OPENVINO_DEFAULT), PEERS),
    Host("benchmarks.peering.own", False, tuple(WAYS), OURS),
)


def hosts_of(
    only: Collection[str], hosts: tuple[Host, ...] = HOSTS
) -> Iterator[tuple[Host, list[str]]]:
    """Yield the hosts that compute some of the subjects `only`, with those subjects."""
    for host in hosts:
        names = [name for name in host.subjects if name in only]
        if names:
            yield host, names
