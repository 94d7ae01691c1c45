"""The processes that train one network together, each on its rows of every batch.

A run in several processes is to come to what one process comes to with the same global batch. So
every process draws random numbers for the whole batch and takes its own rows, batch statistics are
those of the whole batch (`model.training.parallel.sharing`), and torch's `DistributedDataParallel`
averages the gradients. What is decided (stop, save, give up) is decided by all at the same step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from model.errors import ConfigError

_T = TypeVar("_T")
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first calibrates and saves alone at the end."""


class Group:
    """`size` processes, of which this is number `rank`; alone, each method is the identity."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self._control: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, logs and calibrates."""
        return self.rank == 0

    def share(self, items: Sequence[_T]) -> list[_T]:
        """Return this process's share of a batch, the rows in the order of the processes."""
        start, stop = (len(items) * number // self.size for number in (self.rank, self.rank + 1))
        return list(items[start:stop])

    def draw(
        self, random: Callable[..., Tensor], like: Shaped[Tensor, "B ..."]
    ) -> Shaped[Tensor, "B ..."]:
        """Draw random values shaped `like`: this process's rows of those for the whole batch."""
        rows, *rest = like.shape
        drawn = random(rows * self.size, *rest, device=like.device, dtype=like.dtype)
        return drawn[self.rank * rows : (self.rank + 1) * rows]

    def gather(self, values: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "N ..."]:
        """Return the values of all processes, in the batch's order."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def total(self, *values: float) -> list[float]:
        """Return each value's sum over the processes."""
        if self.size == 1:
            return list(values)
        found: list[list[float]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, list(values), group=self._control)
        return [sum(column) for column in zip(*found, strict=True)]

    def first(self, value: _T) -> _T:
        """Return the first process's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]


def joined() -> Group:
    """Return the group of the processes that torch.distributed has brought together."""
    group = Group(dist.get_rank(), dist.get_world_size())
    # What is said between the processes is small and lies on the CPU, wherever the tensors are.
    group._control = dist.new_group(backend="gloo", timeout=PATIENCE)
    return group


@contextmanager
def join(device: str) -> Iterator[tuple[Group, str]]:
    """Join the processes that torchrun started; give the group and this process's device.

    Alone, and on the device asked for, where torchrun started nothing. "cuda" becomes the GPU of
    this process's number on its machine.
    """
    if not dist.is_torchelastic_launched():
        yield Group(), device
        return
    if device not in {"cpu", "cuda"}:
        raise ConfigError(f"several processes train on cpu or cuda, each its own, not {device!r}")
    if device == "cuda":
        device = f"cuda:{dist.get_node_local_rank()}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device != "cpu" else "gloo", timeout=PATIENCE)
    try:
        yield joined(), device
    finally:
        dist.destroy_process_group()
