"""Every service ranks the workers in the same way, and few checkpoints move."""

from collections import Counter

from model.checkpoints.key import CheckpointKey
from service.cluster.placement import order_of_loads, ranked

KEYS = [CheckpointKey("parts", str(number)) for number in range(1, 201)]
WORKERS = ["cpu/0", "cpu/1", "cpu/2"]


def test_the_order_of_the_names_does_not_matter():
    assert all(ranked(key, WORKERS) == ranked(key, WORKERS[::-1]) for key in KEYS)


def test_checkpoints_are_spread():
    firsts = Counter(ranked(key, WORKERS)[0] for key in KEYS)
    assert min(firsts[worker] for worker in WORKERS) > 40


def test_a_new_worker_takes_its_own_checkpoints_alone():
    moved = [key for key in KEYS if ranked(key, [*WORKERS, "cpu/3"])[0] != ranked(key, WORKERS)[0]]
    assert 25 < len(moved) < 75
    assert {ranked(key, [*WORKERS, "cpu/3"])[0] for key in moved} == {"cpu/3"}


def test_with_room_for_most_each_checkpoint_has_a_place():
    loaded = {worker: order_of_loads(worker, KEYS, WORKERS) for worker in WORKERS}
    assert all(sorted(keys) == sorted(KEYS) for keys in loaded.values())
    held = {key for keys in loaded.values() for key in keys[:100]}
    assert held == set(KEYS)
