"""Processes that train one network together, each on its rows of every batch.

Several processes give the same result as one with the same global batch. So every process draws
random numbers for the whole batch and takes its rows, batch statistics are those of the whole batch
(`model.training.parallel.sharing`), and torch's `DistributedDataParallel` averages the gradients.
All processes decide to stop or save at the same step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from model.errors import ConfigError
from model.training.parallel.contact import contact

_T = TypeVar("_T")
PATIENCE = timedelta(minutes=30)
"""Timeout for other processes; at the end, only the first one calibrates and saves."""


class Group:
    """`size` processes, this one being number `rank`; with one, each method is the identity."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self._control: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, logs and calibrates."""
        return self.rank == 0

    def share(self, items: Sequence[_T]) -> list[_T]:
        """Return this process's contiguous rows of a batch."""
        start, stop = (len(items) * number // self.size for number in (self.rank, self.rank + 1))
        return list(items[start:stop])

    def draw(
        self, random: Callable[..., Tensor], like: Shaped[Tensor, "B ..."]
    ) -> Shaped[Tensor, "B ..."]:
        """Draw random values for the whole batch; return this process's rows, shaped `like`."""
        rows, *shape = like.shape
        drawn = random(rows * self.size, *shape, device=like.device, dtype=like.dtype)
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
        rows = self.collect(values)
        return [sum(column) for column in zip(*rows, strict=True)]

    def collect(self, value: _T) -> list[_T]:
        """Return the values of all processes, by their numbers."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group=self._control)
        return values

    def first(self, value: _T) -> _T:
        """Return the first process's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]


def joined() -> Group:
    """Return the group of torch.distributed's processes."""
    group = Group(dist.get_rank(), dist.get_world_size())
    # Control messages are small Python objects on the CPU, so they use gloo even with GPUs.
    group._control = dist.new_group(backend="gloo", timeout=PATIENCE)
    return group


@contextmanager
def join(device: str) -> Iterator[tuple[Group, str]]:
    """Join the processes that torchrun started; yield the group and this process's device.

    Without torchrun, the group is this process and the device is unchanged. "cuda" becomes the GPU
    with this process's number on its machine. Raises `ProcessLost` if another process ends or
    cannot be reached (`model.training.parallel.contact`).
    """
    if not dist.is_torchelastic_launched():
        yield Group(), device
        return
    if device not in {"cpu", "cuda"}:
        raise ConfigError(f"with several processes, --device must be cpu or cuda, got {device!r}")
    if device == "cuda":
        device = f"cuda:{dist.get_node_local_rank()}"
        torch.cuda.set_device(device)
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    with contact(store, rank, size):
        _open("nccl" if device != "cpu" else "gloo")
        try:
            yield joined(), device
        finally:
            dist.destroy_process_group()


def _open(backend: str) -> None:
    """Connect every process with every other."""
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except RuntimeError as error:
        raise ConfigError(
            f"the processes cannot connect to each other ({str(error).rpartition('] ')[2]}): set "
            "GLOO_SOCKET_IFNAME, and for GPUs NCCL_SOCKET_IFNAME too, on each host to the name of "
            "its network interface, such as eth0, because a host's own name may mean its loopback; "
            "and let a firewall between the hosts pass all ports"
        ) from error
