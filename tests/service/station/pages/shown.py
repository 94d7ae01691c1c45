"""A status page without a station: what a station would report is given by hand."""

import socket
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from service.client import AsyncClient
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.states import State
from service.station.machine.verdicts import Outcome, Verdict
from service.station.pages.server import StatusPages
from service.station.parts import PartInspection, SpooledPart
from service.station.reports import PartReport, ScheduleState, StageTimes, Vitals
from service.station.settings import StationSettings

READY = StationImage(ready=True, state=State.READY, recipe=1)
VITALS = Vitals(
    plc_address="modbus://127.0.0.1:5020",
    plc_clients=1,
    spool_parts=2,
    spool_bytes=3_000_000,
    triggers=5,
    missed_triggers=1,
    overruns=0,
    errors=(),
    cameras_up={},
    schedule=ScheduleState(),
)
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'&\u202e"


def settings_of(**changes):
    """Return settings whose page has a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status = {"port": port, **changes.pop("status", {})}
    return StationSettings.model_validate(
        {
            "name": "EL-3",
            "cameras": {"top": {"folder": {"path": "shots"}}},
            "recipes": {1: {"name": "cells", "categories": {"top": "bolt"}}},
            "status": status,
            **changes,
        }
    )


def report_of(job, outcome=None, part_id=None, images=None, cameras=("top",), **times):
    """Return the report of a part."""
    part = SpooledPart(
        job=job,
        recipe=1,
        trigger_number=job,
        part_id=f"cell-{job}" if part_id is None else part_id,
        triggered_at=datetime.now(UTC),
        inspections=(PartInspection("bolt", f"0190-{job}", tuple(cameras)),),
        told=outcome or Outcome(Verdict.OK, score=0.125),
    )
    stages = {"durable_ms": 2.0, "exposed_ms": 10.0, "decided_ms": 80.0, "told_ms": 84.0} | times
    return PartReport(part, (), images or {}, StageTimes(**stages))


class ShownStation:
    """What a station does, by hand."""

    def __init__(self, pages):
        self.pages = pages
        self.vitals = VITALS
        self.inputs = PlcImage()
        self.image = replace(READY, heartbeat=-1)

    def step(self, **changes):
        """Make a step of the machine; `plc_` in front of a name is for the PLC's side."""
        plc = {
            name.removeprefix("plc_"): value
            for name, value in changes.items()
            if name.startswith("plc_")
        }
        ours = {name: value for name, value in changes.items() if not name.startswith("plc_")}
        self.inputs = replace(self.inputs, **plc)
        self.image = replace(self.image, heartbeat=self.image.heartbeat + 1, **ours)
        for watcher in self.pages.watchers:
            watcher.image_changed(self.image, self.inputs)

    def tell(self, *arguments, **options):
        for watcher in self.pages.watchers:
            watcher.part_told(report_of(*arguments, **options))


@contextmanager
def shown(settings=None, service="http://127.0.0.1:9"):
    """Yield a hand-made station whose page is served."""
    pages = StatusPages(settings or settings_of(), lambda: AsyncClient(service))
    pages.listen()
    station = ShownStation(pages)
    station.step()
    pages.start(lambda: station.vitals)
    try:
        yield station
    finally:
        pages.close()
