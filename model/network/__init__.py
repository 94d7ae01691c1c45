"""The MambaAD network: configuration, encoder, fusion, decoder."""

from model.network.config import NetworkConfig
from model.network.encoder import Encoder, load_encoder_weights
from model.network.mambaad import MambaAD

__all__ = ["Encoder", "MambaAD", "NetworkConfig", "load_encoder_weights"]
