"""Copy a run's trained state to tensors by name, restore it, and swap weights temporarily."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from model.network import MambaAD
from model.training.progress.average import WeightAverage
from model.training.progress.best import BestWeights


def take(
    network: MambaAD,
    parameters: Mapping[str, Parameter],
    optimizer: Optimizer,
    average: WeightAverage | None,
    best: BestWeights | None,
) -> dict[str, Tensor]:
    """Return weights, statistics and the optimizer's state."""
    tensors = {f"network/{k}": v for k, v in network.trained_state().items()}
    if network.encoder.standardises:
        tensors |= {f"features/{k}": v for k, v in network.encoder.named_buffers(recurse=False)}
    if average:
        tensors |= {f"average/{k}": v for k, v in average.weights.items()}
    if best:
        tensors |= {f"best/{k}": v for k, v in best.weights.items()}
        if best.epoch is not None:
            tensors["best_loss"] = torch.tensor(best.loss, dtype=torch.float64)
            tensors["best_epoch"] = torch.tensor(best.epoch)
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{key}/{name}"] = value
    return tensors


def restore(
    tensors: Mapping[str, Tensor],
    network: MambaAD,
    parameters: Mapping[str, Parameter],
    optimizer: Optimizer,
    average: WeightAverage | None,
    best: BestWeights | None,
) -> None:
    """Restore the result of `take`."""
    network.load_trained_state(_below("network/", tensors))
    usual = _below("features/", tensors)
    if usual:
        numbers = range(len(network.encoder.channels))
        network.encoder.standardise(
            [usual[f"feature_mean_{i}"] for i in numbers],
            [usual[f"feature_deviation_{i}"] for i in numbers],
        )
    device = next(iter(parameters.values())).device
    if average:
        average.weights = _below("average/", tensors, device)
    if best and "best_epoch" in tensors:
        best.weights = _below("best/", tensors, device)
        best.loss, best.epoch = tensors["best_loss"].item(), int(tensors["best_epoch"])
    state: dict[int, dict[str, Tensor]] = {}
    positions = {name: number for number, name in enumerate(parameters)}
    for key, value in _below("optimizer/", tensors).items():
        quantity, name = key.split("/", 1)
        state.setdefault(positions[name], {})[quantity] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


@contextmanager
def lent(network: MambaAD, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Use other trained weights in the network temporarily."""
    live = {key: value.clone() for key, value in network.trained_state().items()}
    network.load_trained_state(dict(weights))
    try:
        yield
    finally:
        network.load_trained_state(live)


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return a digest of the weights, independent of their order."""
    hasher = hashlib.sha256()
    for key in sorted(weights):
        hasher.update(key.encode())
        hasher.update(weights[key].detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()[:16]


def _below(
    prefix: str, tensors: Mapping[str, Tensor], device: torch.device | None = None
) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value.to(device) if device else value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
