"""The workers as people see them: state, queue, batches, memory, checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from service.api.service import Service
from service.console.board.traffic import Recent, values_of


@dataclass(frozen=True, slots=True)
class Resident:
    """A checkpoint in a worker's memory."""

    checkpoint: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker; `busy` is None until a few seconds have been measured."""

    name: str
    device: str
    node: str | None
    state: str
    reason: str
    waiting: int
    capacity: int
    oldest_s: float
    batches: int
    images_per_batch: float | None
    busy: float | None
    restarts: int
    memory_bytes: float
    residents: Sequence[Resident]


@dataclass(frozen=True, slots=True)
class Replicas:
    """A checkpoint that some workers of a cluster should keep loaded, and those that have it."""

    checkpoint: str
    wanted: int
    workers: Sequence[str]


def replicas_of(service: Service) -> list[Replicas]:
    """Return the serving checkpoints whose number of workers is set."""
    residents = service.workers.residents()
    return [
        Replicas(str(key), wanted, [name for name, loaded in residents.items() if key in loaded])
        for key in sorted(service.registry.checkpoints)
        if (wanted := service.replicas(key)) is not None
    ]


def workers_of(service: Service, recent: Recent) -> list[WorkerView]:
    """Return the state of every worker."""
    metrics, residents = service.metrics, service.workers.residents()
    capacity, oldest_s = _by_worker(metrics.queue_capacity), _by_worker(metrics.queue_oldest)
    batches, images = (
        _by_worker(metrics.batch_size, "_count"),
        _by_worker(metrics.batch_size, "_sum"),
    )
    restarts = _by_worker(metrics.worker_restarts, "_total")
    memory = _by_worker(metrics.device_memory)
    return [
        WorkerView(
            name=worker.name,
            device=worker.name.partition("/")[0],
            node=worker.node,
            state=worker.state.value,
            reason=worker.reason,
            waiting=worker.waiting,
            capacity=int(capacity.get(worker.name, 0)),
            oldest_s=oldest_s.get(worker.name, 0.0),
            batches=int(batches.get(worker.name, 0)),
            images_per_batch=_mean(images.get(worker.name, 0.0), batches.get(worker.name, 0.0)),
            busy=recent.busy.get(worker.name),
            restarts=int(restarts.get(worker.name, 0)),
            memory_bytes=memory.get(worker.name, 0.0),
            residents=[
                Resident(str(key), resident.bytes)
                for key, resident in sorted(residents.get(worker.name, {}).items())
            ],
        )
        for worker in service.workers.status()
    ]


def _by_worker(metric: MetricWrapperBase, suffix: str = "") -> dict[str, float]:
    return {labels["worker"]: value for labels, value in values_of(metric, suffix)}


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None
