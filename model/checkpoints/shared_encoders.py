"""Share frozen encoders in memory between networks with the same weights."""

import re
from pathlib import Path
from weakref import WeakValueDictionary

from torch import Tensor

from model.checkpoints.files import parse_weights, sha256
from model.checkpoints.tensors import to_tensors
from model.network import Encoder


class SharedEncoders:
    """Encoders by the hash of their file; released when no network uses them."""

    def __init__(self) -> None:
        self._encoders: WeakValueDictionary[tuple[str, str], Encoder] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._encoders)

    @property
    def nbytes(self) -> int:
        """The bytes of all weights, on all devices."""
        return sum(
            tensor.nbytes
            for encoder in list(self._encoders.values())
            for tensor in _tensors(encoder)
        )

    def get(self, name: str, path: Path, digest: str, data: bytes) -> Encoder:
        """Return timm's encoder `name` with the weights in `data`, the verified content of `path`.

        `digest` is their hash. Raises `CheckpointError` if `data` is not safetensors, and
        `RuntimeError` for weights that do not fit.
        """
        encoder = self._encoders.get((name, digest))
        if encoder is None:
            encoder = Encoder(name)
            encoder.load_state_dict(to_tensors(parse_weights(path, data)))
            self._encoders[name, digest] = encoder
        return encoder


def encoder_file_name(encoder: str, data: bytes) -> str:
    """Return a file name with the content's hash, replacing ':' and '/' of timm names."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", encoder).lstrip("._-")
    return f"{plain}-{sha256(data)[:8]}.safetensors"


def _tensors(encoder: Encoder) -> list[Tensor]:
    return [*encoder.parameters(), *encoder.buffers()]
