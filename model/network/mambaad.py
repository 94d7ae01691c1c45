"""MambaAD: a frozen encoder, a fusion, and a decoder that learns to reconstruct its features.

Source: MambaAD, NeurIPS 2024, figure 2.
"""

from jaxtyping import Float
from torch import Tensor, nn

from model.errors import ConfigError, WeightsError
from model.network.blocks import HSS
from model.network.config import NetworkConfig
from model.network.decoder import Decoder
from model.network.encoder import Encoder
from model.network.fusion import Fusion
from model.scan import BACKENDS

_FROZEN = "encoder."


class MambaAD(nn.Module):
    """The network of one `NetworkConfig`, on an `encoder` that networks can share.

    Without `encoder` it creates one with random weights.
    """

    def __init__(self, config: NetworkConfig | None = None, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.encoder = encoder or Encoder(self.config.encoder)
        self.fusion = Fusion(self.encoder.channels)
        fine, middle, coarse = self.encoder.channels
        self.decoder = Decoder(self.config, (self.fusion.out_channels, coarse, middle, fine))

    def forward(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[list[Float[Tensor, "B _ _ _"]], list[Float[Tensor, "B _ _ _"]]]:
        """Return (teacher, student): encoder and decoder features at strides 4, 8 and 16."""
        if tuple(images.shape[-2:]) != self.config.image_size:
            raise ConfigError(
                f"the network takes images of {self.config.image_size}, "
                f"got {tuple(images.shape[-2:])}"
            )
        teacher = self.encoder(images)
        return teacher, self.reconstruct(teacher)

    def reconstruct(
        self, teacher: list[Float[Tensor, "B _ _ _"]], unused_scales: int = 0
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Reconstruct the encoder's features, without the finest `unused_scales`."""
        student: list[Tensor] = self.decoder(self.fusion(teacher), unused_scales)
        return student

    @property
    def feature_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of the features at strides 4, 8 and 16."""
        sizes = self.config.stage_sizes[:0:-1]  # the first stage has no features
        pairs = zip(self.encoder.channels, sizes, strict=True)
        return tuple((channels, *size) for channels, size in pairs)

    def use_backend(self, backend: str) -> "MambaAD":
        """Scan with `backend` from now on; see `model.scan.hybrid_scan`. Return the network."""
        if backend != "auto" and backend not in BACKENDS:
            raise ConfigError(
                f"unknown scan backend {backend!r}; have: auto, {', '.join(BACKENDS)}"
            )
        for module in self.modules():
            if isinstance(module, HSS):
                module.backend = backend
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors that training changes: all but the encoder, with batch statistics."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(_FROZEN)}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load `trained_state` output. Raises `WeightsError` if it does not fit."""
        current = self.trained_state()
        differing = sorted(current.keys() ^ state.keys())
        shared = current.keys() & state.keys()
        differing += [k for k in shared if current[k].shape != state[k].shape]
        if differing:
            raise WeightsError(
                f"{len(differing)} of {len(current)} tensors do not fit this network, "
                f"such as {differing[:3]}; it was built for another configuration"
            )
        self.load_state_dict(state, strict=False)
