"""The MambaAD network: a frozen encoder (teacher), a fusion, and a decoder (student).

The teacher is trained on ImageNet and frozen. Its features at strides 4, 8 and 16 are fused and
halved once more; the student, a decoder of state-space blocks, reconstructs them from there. It is
trained on good parts only, so the two differ where a part is anomalous.

    network = MambaAD(NetworkConfig(encoder="resnet34")).eval()
    teacher, student = network(torch.zeros(1, 3, 256, 256))  # features at strides 4, 8 and 16
"""

from typing import TYPE_CHECKING

from model.imports.lazy import lazily
from model.network.config import NetworkConfig

if TYPE_CHECKING:
    from model.network.encoder import Encoder, load_encoder_weights
    from model.network.mambaad import MambaAD

__all__ = ["Encoder", "MambaAD", "NetworkConfig", "load_encoder_weights"]

__getattr__ = lazily(
    __name__,
    {
        "Encoder": "model.network.encoder",
        "MambaAD": "model.network.mambaad",
        "load_encoder_weights": "model.network.encoder",
    },
)
