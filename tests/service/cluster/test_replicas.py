"""As many workers keep a checkpoint as the settings say, one load at a time, none twice."""

from itertools import pairwise

import pytest

from model.checkpoints.key import CheckpointKey
from service.cluster.placement import order_of_loads, ranked
from service.cluster.replicas import Replicas

SOLAR, BOLTS, OTHER = (CheckpointKey(name, "1") for name in ("solar", "bolts", "other"))
WORKERS = ("cpu/0", "cpu/1", "cpu/2")


class Cluster:
    """Workers that do what `Replicas` says."""

    def __init__(self, **targets: int) -> None:
        self.replicas = Replicas(targets)
        self.residents: dict[str, set[CheckpointKey]] = {name: set() for name in WORKERS}
        self.now = 0.0

    def look(self) -> tuple[CheckpointKey, str] | None:
        self.now += 0.5
        self.replicas.look([SOLAR, BOLTS, OTHER], self.residents, self.now)
        return self.replicas.next_load()

    def settle(self) -> list[tuple[CheckpointKey, str]]:
        loads = []
        while load := self.look():
            key, worker = load
            self.residents[worker].add(key)
            self.replicas.note_load(key, worker, self.now, failed=False)
            loads.append(load)
        return loads

    def holders(self, key: CheckpointKey) -> set[str]:
        return {name for name, loaded in self.residents.items() if key in loaded}


def test_as_many_workers_load_a_checkpoint_as_the_settings_say():
    cluster = Cluster(solar=2, bolts=3)
    cluster.settle()
    assert cluster.holders(SOLAR) == set(ranked(SOLAR, WORKERS)[:2])
    assert cluster.holders(BOLTS) == set(WORKERS)
    assert cluster.holders(OTHER) == set()


def test_those_that_the_fewest_have_are_loaded_first():
    cluster = Cluster(solar=2, bolts=2)
    loads = [key for key, _ in cluster.settle()]
    assert set(loads[:2]) == {SOLAR, BOLTS}
    assert len(loads) == 4


def test_a_worker_that_has_it_already_counts():
    cluster = Cluster(solar=2)
    unpreferred = ranked(SOLAR, WORKERS)[2]
    cluster.residents[unpreferred].add(SOLAR)
    assert len(cluster.settle()) == 1
    assert SOLAR in cluster.replicas.kept_by(unpreferred)


def test_only_as_many_as_wanted_are_kept_where_images_loaded_more():
    cluster = Cluster(solar=1)
    for loaded in cluster.residents.values():
        loaded |= {SOLAR, OTHER}
    assert cluster.look() is None
    assert [w for w in WORKERS if cluster.replicas.kept_by(w)] == [ranked(SOLAR, WORKERS)[0]]


def test_a_lost_worker_is_replaced():
    cluster = Cluster(solar=2)
    cluster.settle()
    lost = ranked(SOLAR, WORKERS)[0]
    del cluster.residents[lost]
    assert cluster.settle() == [(SOLAR, ranked(SOLAR, WORKERS)[2])]


def test_if_a_worker_has_no_room_another_one_loads_it():
    cluster = Cluster(solar=1)
    first, second, _ = ranked(SOLAR, WORKERS)
    assert cluster.look() == (SOLAR, first)
    cluster.replicas.note_load(SOLAR, first, cluster.now, failed=True)
    assert cluster.look() == (SOLAR, second)


def test_where_all_fail_it_is_tried_again_after_a_minute():
    cluster = Cluster(solar=1)
    for worker in ranked(SOLAR, WORKERS):
        assert cluster.look() == (SOLAR, worker)
        cluster.replicas.note_load(SOLAR, worker, cluster.now, failed=True)
    assert cluster.look() is None
    cluster.now += 60
    assert cluster.look() is not None


def test_one_that_is_unloaded_at_once_is_not_loaded_again_and_again():
    cluster = Cluster(solar=3)
    times = []
    for _ in range(100):
        if load := cluster.look():
            times.append((load, cluster.now))
            cluster.replicas.note_load(*load, cluster.now, failed=False)
    assert len(times) > 6
    for (one, before), (other, after) in pairwise(sorted(times, key=lambda t: (t[0][1], t[1]))):
        assert one != other or after - before >= 10


def test_an_operators_unload_stands_until_the_services_know():
    cluster = Cluster(solar=2)
    cluster.settle()
    cluster.residents = {name: set() for name in WORKERS}
    cluster.replicas.pause(SOLAR, WORKERS, cluster.now)
    assert cluster.look() is None
    cluster.now += 10
    assert cluster.look() is not None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_new_worker_begins_with_the_checkpoints_that_it_should_keep(count):
    keys = [CheckpointKey(f"k{number}", "1") for number in range(40)]
    first = {
        worker: order_of_loads(worker, [*keys, SOLAR], WORKERS, {"solar": count})
        for worker in WORKERS
    }
    preferring = ranked(SOLAR, WORKERS)[:count]
    for worker, order in first.items():
        of_its_own = [key for key in keys if ranked(key, WORKERS)[0] == worker]
        assert (order.index(SOLAR) <= len(of_its_own)) == (worker in preferring)
