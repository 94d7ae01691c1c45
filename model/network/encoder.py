"""The frozen encoder: any timm network with features at strides 4, 8 and 16."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.errors import ConfigError, WeightsError
from model.imports.timm_import import find_hub
from model.network.timm_parts import timm
from model.network.weights_file import read_weights_file
from model.network.weights_source import check_source, weights_package

STRIDES = (4, 8, 16)
HUB_TAGS = {"resnet34": "bt_in1k"}
"""timm's tags of the ImageNet weights of the published MambaAD (resnet34-43635321), where timm's
default differs."""

_PIXELS_AT_ONCE = 256 * 256

_REMEDY = (
    "give a file of them, downloaded elsewhere, with timm's keys: --encoder-weights FILE "
    "(.safetensors or .pth)"
)


class Encoder(nn.Module):
    """A timm network cut after stride 16, without gradients and always in evaluation mode.

    `channels` are those of its three feature maps, fine to coarse; `mean` and `std` are those of
    the input that its weights expect. After `standardise` it returns standardised features, and
    stores their means and deviations with its weights.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.net: Any = _create(name)
        self._indices, self.channels = _features_at_strides(name, self.net.feature_info)
        _prune(name, self.net, self._indices)
        config = self.net.pretrained_cfg
        self.mean = tuple(config["mean"])
        self.std = tuple(config["std"])
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in evaluation mode: the batch norm's statistics are frozen like the weights."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the feature maps at strides 4, 8 and 16."""
        x = x.contiguous(memory_format=torch.channels_last)  # halves the time of depth-wise convs
        features: list[Tensor] = self.net.forward_intermediates(
            x, indices=self._indices, intermediates_only=True, stop_early=True
        )
        if not self.standardises:
            return features
        return [
            (feature - getattr(self, f"feature_mean_{i}")) / getattr(self, f"feature_deviation_{i}")
            for i, feature in enumerate(features)
        ]

    def in_parts(self, x: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the feature maps like `forward`, on a CPU a few images at a time.

        A large batch takes twice as long there: the system clears new memory for each of its
        arrays.
        """
        at_once = max(1, _PIXELS_AT_ONCE // (x.shape[2] * x.shape[3]))
        if x.device.type != "cpu" or len(x) <= at_once:
            features: list[Tensor] = self(x)
            return features
        parts = [self(x[i : i + at_once]) for i in range(0, len(x), at_once)]
        return [torch.cat(scale) for scale in zip(*parts, strict=True)]

    @property
    def standardises(self) -> bool:
        """Whether features are standardised channel by channel."""
        return hasattr(self, "feature_mean_0")

    def standardise(self, means: Sequence[Tensor], deviations: Sequence[Tensor]) -> None:
        """From now on, subtract each channel's mean and divide by its deviation."""
        device = next(self.net.parameters()).device
        for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
            for name, values in (("mean", mean), ("deviation", deviation)):
                self.register_buffer(f"feature_{name}_{i}", values.view(-1, 1, 1).to(device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}feature_mean_0" in state_dict and not self.standardises:
            empty = [torch.zeros(channels) for channels in self.channels]
            self.standardise(empty, [torch.ones(channels) for channels in self.channels])
        super()._load_from_state_dict(state_dict, prefix, *args)


def _create(name: str) -> Any:
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name[:6]}*")[:8]) or "see timm.list_models()"
        raise ConfigError(f"timm has no model {name!r}; similar: {close}")
    net = timm.create_model(name, pretrained=False)
    if not hasattr(net, "forward_intermediates"):
        raise ConfigError(f"timm's {name} cannot return intermediate features; choose another")
    return net


def _features_at_strides(
    name: str, infos: list[dict[str, Any]]
) -> tuple[list[int], tuple[int, int, int]]:
    by_stride = {info["reduction"]: (i, info["num_chs"]) for i, info in enumerate(infos)}
    missing = [stride for stride in STRIDES if stride not in by_stride]
    if missing:
        raise ConfigError(
            f"{name} has no features at stride {', '.join(map(str, missing))}; "
            f"MambaAD needs strides {STRIDES}, it has {tuple(by_stride)}"
        )
    fine, middle, coarse = (by_stride[stride] for stride in STRIDES)
    return [fine[0], middle[0], coarse[0]], (fine[1], middle[1], coarse[1])


def _prune(name: str, net: Any, indices: list[int]) -> None:
    """Drop the layers after the last feature, so that they are neither stored nor computed."""
    try:
        net.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
    except AttributeError as error:
        raise ConfigError(f"timm's {name} cannot be cut after stride 16; choose another") from error


def load_encoder_weights(encoder: Encoder, source: str | Path) -> None:
    """Fill `encoder` with ImageNet weights.

    `source` is "package" (the installed package of `PACKAGE_ENCODERS`, for `tf_efficientnet_lite0`
    to `2`), "hub" (timm downloads them) or the path of a .safetensors or .pth file with timm's
    keys. Raises `WeightsError`.
    """
    check_encoder_weights(encoder.name, source)
    if source == "package":
        state = _package_state(encoder.name)
    elif source == "hub":
        state = _hub_state(encoder.name)
    else:
        state = _file_state(Path(source))
    wanted = encoder.net.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        raise WeightsError(
            f"the weights from {source} do not fit {encoder.name}: "
            f"{len(missing)} keys missing {missing[:3]}, {len(wrong)} of another shape {wrong[:3]}"
        )
    encoder.net.load_state_dict({key: state[key] for key in wanted})


def check_encoder_weights(name: str, source: str | Path) -> None:
    """Raise `WeightsError` now where `load_encoder_weights` surely would, reading no weights.

    Asks the hub at most once, and for a few seconds.
    """
    check_source(name, source)
    if source == "hub" and timm.is_model(name):
        tagged = _tagged(name)
        config = timm.models.get_pretrained_cfg(tagged)
        from model.network import hub  # the import of its client takes longer than timm's

        why = hub.why_not(vars(config) if config else {}, tagged)
        if why:
            raise WeightsError(f"cannot get {name}'s weights from timm's hub ({why}); {_REMEDY}")


def _package_state(name: str) -> dict[str, Tensor]:
    file = getattr(weights_package(name), f"EfficientnetLite{name[-1]}ModelFile")
    stored = _file_state(Path(file.get_model_file_path()))
    keys = list(timm.create_model(name, pretrained=False).state_dict())
    # The tensors have other names there, but the same order.
    return dict(zip(keys, stored.values(), strict=True))


def _tagged(name: str) -> str:
    return f"{name}.{HUB_TAGS[name]}" if name in HUB_TAGS else name


def _hub_state(name: str) -> dict[str, Tensor]:
    find_hub()
    try:
        state: dict[str, Tensor] = timm.create_model(_tagged(name), pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises many kinds
        raise WeightsError(
            f"could not download {name} from timm's hub ({error}); {_REMEDY}"
        ) from error
    return state


def _file_state(path: Path) -> dict[str, Tensor]:
    stored = read_weights_file(path)
    if not isinstance(stored, dict):
        raise WeightsError(f"{path} holds a {type(stored).__name__}; expected tensors by name")
    state = stored.get("state_dict", stored)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds other things than tensors by name")
    return state
