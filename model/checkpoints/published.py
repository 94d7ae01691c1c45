"""Read published checkpoints: map their keys and build the network.

The ADer training framework saves a flat state dict (`net.pth`) or `{"net": state dict, ...}`
(`ckpt.pth`), and its keys may carry the `module.` of a data-parallel wrapper.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.errors import ConfigError, WeightsError
from model.network import MambaAD, NetworkConfig
from model.network.weights_file import read_weights_file
from model.scan import SCANS

_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^net_t\.", "encoder.net."),
        (r"^mff_oce\.conv1\.", "fusion.fine_down.0."),
        (r"^mff_oce\.bn1\.", "fusion.fine_down.1."),
        (r"^mff_oce\.conv21\.", "fusion.middle.0."),
        (r"^mff_oce\.bn21\.", "fusion.middle.1."),
        (r"^mff_oce\.conv2\.", "fusion.middle_down.0."),
        (r"^mff_oce\.bn2\.", "fusion.middle_down.1."),
        (r"^mff_oce\.conv31\.", "fusion.coarse.0."),
        (r"^mff_oce\.bn31\.", "fusion.coarse.1."),
        (r"^mff_oce\.convf\.", "fusion.merge.0."),
        (r"^mff_oce\.bnf\.", "fusion.merge.1."),
        (r"^mff_oce\.bn_layer\.", "fusion.bottlenecks."),
        (r"^net_s\.layers_up\.(\d+)\.blocks\.", r"decoder.stages.\1."),
        (r"\.smm_blocks\.", ".hss."),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.conv2d\.", ".conv."),
        (r"\.self_attention\.", "."),
        (r"\.x_proj_weight$", ".selection_weight"),
        (r"\.dt_projs_weight$", ".dt_weight"),
        (r"\.dt_projs_bias$", ".dt_bias"),
        (r"\.A_logs$", ".A_log"),
        (r"\.Ds$", ".D"),
        (r"\.conv1b([57])\.0\.", r".branch\1.before."),
        (r"\.conv([57])[57]\.0\.", r".branch\1.depthwise."),
        (r"\.conv1a([57])\.0\.", r".branch\1.after."),
        (r"\.finalconv11\.", ".merge."),
    )
)
_UPSAMPLE = re.compile(r"^net_s\.layers_up\.(\d+)\.upsample\.")
_SCAN_INDEX = ".scans.index_flat"
_BLOCK = re.compile(r"layers_up\.(\d+)\.blocks\.(\d+)\.smm_blocks\.(\d+)\.ln_1\.weight$")
# Encoders are recognised by the first stage's number of blocks and first kernel's shape.
_ENCODERS = {
    "resnet34": (3, (64, 64, 3, 3)),
    "resnet18": (2, (64, 64, 3, 3)),
    "resnet50": (3, (64, 64, 1, 1)),
    "wide_resnet50_2": (3, (128, 64, 1, 1)),
}


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a published checkpoint, flat or under `net`, without running code from it.

    Raises `WeightsError` for a missing file or another format.
    """
    if not path.exists():
        raise WeightsError(f"no checkpoint file {path}")
    return _flat(read_weights_file(path), str(path))


def _flat(stored: object, source: str) -> dict[str, Tensor]:
    if isinstance(stored, Mapping) and isinstance(stored.get("net"), Mapping):
        stored = stored["net"]
    if not isinstance(stored, Mapping) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise WeightsError(
            f"{source} is not a state dict, but a {type(stored).__name__} of other objects: "
            "expected tensors by name, or 'net'"
        )
    if not stored:
        raise WeightsError(f"{source} has no tensors: expected those of a network by name")
    return {str(key).removeprefix("module."): value for key, value in stored.items()}


def network_from_state_dict(state_dict: Mapping[str, object]) -> MambaAD:
    """Build the network of a published state dict and load its weights.

    The scan order is recognised from the stored index tensors; directions, depths, state size and
    image size from shapes. Raises `WeightsError` if the tensors are not MambaAD's.
    """
    state = _flat(state_dict, "the checkpoint")
    try:
        network = MambaAD(_config(state))
    except (KeyError, IndexError, ValueError, ConfigError) as error:
        raise WeightsError(
            "the checkpoint is not a published MambaAD: its decoder lacks tensors or has other "
            f"shapes ({error})"
        ) from error
    renamed = {_rename(k): v for k, v in state.items() if _SCAN_INDEX not in k}
    expected = network.state_dict()
    for key, value in renamed.items():
        if key in expected and value.numel() == expected[key].numel():
            renamed[key] = value.reshape(expected[key].shape)  # A and D are stored as (K * D, ...)
    differing = sorted(expected.keys() ^ renamed.keys())
    both = expected.keys() & renamed.keys()
    differing += [k for k in both if expected[k].shape != renamed[k].shape]
    if differing:
        raise WeightsError(
            f"the checkpoint is not a published MambaAD: {len(differing)} tensors differ, "
            f"such as {differing[:3]}"
        )
    network.load_state_dict(renamed)
    return network.eval()


def _rename(key: str) -> str:
    upsample = _UPSAMPLE.match(key)
    if upsample:
        return f"decoder.expands.{int(upsample[1]) - 1}.{key[upsample.end() :]}"
    for pattern, replacement in _RENAMES:
        key = pattern.sub(replacement, key)
    return key


def _config(state: Mapping[str, Tensor]) -> NetworkConfig:
    blocks = [tuple(map(int, m.groups())) for key in state if (m := _BLOCK.search(key))]
    stages = sorted({stage for stage, _, _ in blocks})
    if stages != [0, 1, 2, 3]:
        raise WeightsError(
            "the checkpoint has no MambaAD decoder: expected keys such as "
            "'net_s.layers_up.0.blocks.0.smm_blocks.0.ln_1.weight' for four stages"
        )
    first = "net_s.layers_up.0.blocks.0.smm_blocks.0.self_attention."
    index = state[f"{first}scans.index_flat"].flatten().numpy()
    side = math.isqrt(index.size)
    a, b, c, d = (sum(stage == s for s, _, _ in blocks) for stage in stages)
    return NetworkConfig(
        encoder=_encoder_name(state),
        image_size=(32 * side, 32 * side),
        scan=_scan_name(state),
        directions=state[f"{first}x_proj_weight"].shape[0],
        depths=(a, b, c, d),
        state_size=state[f"{first}A_logs"].shape[1],
    )


def _encoder_name(state: Mapping[str, Tensor]) -> str:
    """Recognise the encoder by the first stage's number of blocks and first kernel's shape."""
    blocks = {key.split(".")[2] for key in state if key.startswith("net_t.layer1.")}
    kernel = state.get("net_t.layer1.0.conv1.weight", torch.empty(0)).shape
    for name, (count, shape) in _ENCODERS.items():
        if len(blocks) == count and tuple(kernel) == shape:
            return name
    raise WeightsError(f"unknown encoder of the checkpoint: expected one of {', '.join(_ENCODERS)}")


def _scan_name(state: Mapping[str, Tensor]) -> str:
    """Return the scan order that matches every stored index tensor."""
    stored = [v.flatten().numpy() for k, v in state.items() if k.endswith(_SCAN_INDEX)]
    sides = [math.isqrt(index.size) for index in stored]
    for name, order in SCANS.items():
        if all(
            np.array_equal(order(side, side), index)
            for side, index in zip(sides, stored, strict=True)
        ):
            return name
    raise WeightsError(f"unknown scan order of the checkpoint: expected one of {', '.join(SCANS)}")
