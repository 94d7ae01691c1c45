"""The MambaAD network: a frozen encoder (teacher), a fusion, and a decoder (student).

The teacher is trained on ImageNet and frozen. Its features at strides 4, 8 and 16 are fused and
halved once more, and the student, a decoder of state-space blocks, rebuilds them from there. It has
only ever rebuilt good parts, so where teacher and student disagree, the part is unlike good ones.
"""

from model.network.config import NetworkConfig
from model.network.encoder import Encoder, load_encoder_weights
from model.network.mambaad import MambaAD

__all__ = ["Encoder", "MambaAD", "NetworkConfig", "load_encoder_weights"]
