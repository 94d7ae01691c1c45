"""A worker tidies once in each rest, and never between batches."""

from service.workers.child.rest import Rest


class Time:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_memory_is_returned_once_in_each_rest():
    time, tidied = Time(), []
    rest = Rest(30.0, lambda: tidied.append(time.now_s), time)
    rest.tick()
    assert tidied == []  # nothing computed, nothing to return
    for _ in range(5):
        rest.interrupt()
        time.now_s += 29.0
        rest.tick()
    assert tidied == []
    time.now_s += 1.0
    rest.tick()
    time.now_s += 1000.0
    rest.tick()
    assert tidied == [246.0]
    rest.interrupt()
    time.now_s += 30.0
    rest.tick()
    assert tidied == [246.0, 1276.0]
