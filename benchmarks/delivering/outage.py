"""Everything fails at once, and differently: a timetable of faults, then all is well again."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.delivering.site import Site

_UP_S = 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a fraction of the outage."""

    at: float
    name: str
    do: Callable[[], None]


def timetable(site: Site) -> list[Fault]:
    """Return the faults in order; the broker and the database are away from the beginning."""

    def answer_500() -> None:
        site.receiver.status = 500

    def hang() -> None:
        site.receiver.behaviour = "hang"

    def cut() -> None:
        site.receiver.behaviour = "cut"

    def kill_service() -> None:
        site.service.end(signal.SIGKILL)
        site.service.start()

    def kill_database() -> None:
        site.database.start()
        time.sleep(_UP_S)
        site.database.kill()

    return [
        Fault(0.0, "the broker is stopped", site.broker.stop),
        Fault(0.0, "the database is stopped", site.database.stop),
        Fault(0.0, "the webhook answers 500", answer_500),
        Fault(1 / 3, "the webhook hangs", hang),
        Fault(1 / 2, "the service is killed and started", kill_service),
        Fault(2 / 3, "the webhook cuts connections", cut),
        Fault(3 / 4, "the database is started and killed", kill_database),
    ]


def run_outage(site: Site, seconds: float, say: Callable[[str], None]) -> None:
    """Let everything fail for a time, then repair it."""
    begun = time.monotonic()
    running: list[threading.Thread] = []
    for fault in timetable(site):
        time.sleep(max(0.0, begun + fault.at * seconds - time.monotonic()))
        say(fault.name)
        running.append(threading.Thread(target=fault.do))
        running[-1].start()
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    for thread in running:
        thread.join()
    say("everything is repaired")
    site.receiver.status, site.receiver.behaviour = 200, "answer"
    site.database.start()
    site.broker.start()


def drain(site: Site, longest_s: float) -> dict[str, float]:
    """Return after how many seconds each sink had taken its backlog.

    A sink has taken it when it reaches the newest event of the beginning.
    """
    begun = time.monotonic()
    first = site.service.deliveries()
    goals = {name: sink["position"] + sink["depth"] for name, sink in first.items()}
    drained: dict[str, float] = {}
    while drained.keys() != goals.keys() and time.monotonic() - begun < longest_s:
        for name, sink in site.service.deliveries().items():
            if sink["position"] >= goals[name]:
                drained.setdefault(name, round(time.monotonic() - begun, 1))
        time.sleep(0.5)
    return drained
