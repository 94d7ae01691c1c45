"""More checkpoints than a worker holds, asked for by Zipf's law: how many wait for a load."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.clustering.nodes import PATIENCE_S, RayNodes, await_workers
from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import copy_store, serving
from benchmarks.stationing.store import noise_image, write_store
from model.checkpoints.checkpoint import CheckpointStore
from model.runtimes.runtimes import Runtimes
from service.workers.child.checkpoint import LoadedCheckpoint

_COUNTED = {
    "sent": "mambaad_cluster_hop_seconds_count",
    "waited_for_a_load": "mambaad_cluster_images_cold_total",
    "loads": "mambaad_cluster_model_loads_total",
}


CHECKPOINTS = 16


@dataclass(frozen=True, slots=True)
class Load:
    """Clients in a closed loop; each worker holds `capacity` checkpoints.

    `replicas` has the value of MAMBAAD_CLUSTER__REPLICAS by the rank of a checkpoint: "1=3,2=2".
    """

    capacity: int
    clients: int
    replicas: str = ""


LOADS = (Load(8, 6), Load(8, 48), Load(8, 48, "1=3,2=2,3=2"), Load(4, 6))


@contextmanager
def zipf_service(nodes: RayNodes, load: Load, workers: int) -> Iterator[tuple[str, list[str]]]:
    """Serve small networks on the nodes; yields the URL, and the categories, the busiest first."""
    with tempfile.TemporaryDirectory(prefix="mambaad-cluster-") as folder:
        write_store(Path(folder) / "made")
        store = Path(folder) / "weights"
        copy_store(Path(folder) / "made" / "weights", store, CHECKPOINTS, CHECKPOINTS)
        settings = {
            "cluster__address": nodes.address,
            "cluster__min_workers": workers,
            "cluster__max_workers": workers,
            "cluster__linger_s": 1,
            "cluster__replicas": _by_name(load.replicas),
            "workers__threads_per_worker": 1,
            "workers__max_model_bytes": _bytes_of(store, load.capacity),
            "versions__state_dir": Path(folder) / "state",
        }
        variables = {f"MAMBAAD_{k.upper()}": str(value) for k, value in settings.items()}
        with serving(store, variables=variables) as url:
            await_workers(url, workers)
            _await_replicas(url)
            yield url, [f"noise-{number}" for number in range(CHECKPOINTS)]


def _by_name(replicas: str) -> str:
    pairs = (pair.partition("=") for pair in replicas.split(",") if pair)
    return ",".join(f"parts-{int(rank) - 1}={count}" for rank, _, count in pairs)


def _bytes_of(store: Path, capacity: int) -> int:
    """Return the memory for so many checkpoints, and half of another one."""
    runtimes = Runtimes()
    _, detector = runtimes.open(CheckpointStore(store).find("parts-0", "1"))
    _, shared = runtimes.encoders
    return int(shared + (capacity + 0.5) * LoadedCheckpoint(detector).nbytes)


def drawn(images: int) -> list[int]:
    """Return the checkpoint of each image: the k-th is drawn 1/k times as often as the first."""
    weights = [1 / (rank + 1) for rank in range(CHECKPOINTS)]
    return random.Random(0).choices(range(CHECKPOINTS), weights, k=images)


def measure(url: str, categories: Sequence[str], load: Load, images: int) -> dict[str, Any]:
    """Post the images; return how many waited for a load, and how often checkpoints were loaded."""
    before_it = holders(url, load.capacity)
    order = drawn(images)
    limits = httpx.Limits(max_connections=load.clients, max_keepalive_connections=load.clients)
    with httpx.Client(base_url=url, timeout=PATIENCE_S, limits=limits) as client:

        def post(number: int) -> bool:
            category = categories[order[number]]
            answer = client.post(
                "/detect", params={"category": category}, content=noise_image(number)
            )
            return answer.status_code == httpx.codes.OK

        before = _counts(url)
        with ThreadPoolExecutor(load.clients) as threads:
            decided = sum(threads.map(post, range(images)))
        after = _counts(url)
    counted = {name: round(after[name] - before[name]) for name in _COUNTED}
    asked = Counter(order)
    return {
        **asdict(load),
        "decided": decided,
        **counted,
        "share_waited": round(counted["waited_for_a_load"] / counted["sent"], 4),
        "loads_per_1000_images": round(1000 * counted["loads"] / images, 1),
        "images_by_rank": [asked[rank] for rank in range(CHECKPOINTS)],
        "workers_by_rank_before": before_it,
        "workers_by_rank_after": holders(url, load.capacity),
    }


def holders(url: str, capacity: int) -> list[int]:
    """Return how many workers have loaded each checkpoint, the busiest first.

    Raises `CannotMeasure` if a worker has loaded more than it should be able to hold.
    """
    models = httpx.get(f"{url}/models", timeout=PATIENCE_S).json()["models"]
    by_worker = Counter(one["worker"] for model in models for one in model["workers"])
    if any(count > capacity for count in by_worker.values()):
        raise CannotMeasure(f"a worker holds more than {capacity} checkpoints: {by_worker}")
    loaded = {model["name"]: len(model["workers"]) for model in models}
    return [loaded[f"parts-{rank}"] for rank in range(CHECKPOINTS)]


def _await_replicas(url: str) -> None:
    """Wait until workers keep as many replicas as wanted."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if not sum(_values(url, "mambaad_cluster_replicas_missing{")):
            return
        time.sleep(0.5)
    raise CannotMeasure("some replicas are still missing")


def _counts(url: str) -> dict[str, float]:
    return {name: sum(_values(url, f"{metric} ")) for name, metric in _COUNTED.items()}


def _values(url: str, start: str) -> list[float]:
    """Return the values of the lines of /metrics that begin so."""
    lines = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text.splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start)]
