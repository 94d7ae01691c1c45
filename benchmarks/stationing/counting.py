"""Compares what the PLCs saw with the service's archive, part by part."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.client import AsyncClient, Inspection
from service.station.machine.verdicts import Verdict
from service.station.simulating import Report

_SHOWN = 20
NO_NUMBER = -1
"""Of a row without a trigger number: its request broke before the service had read its fields."""

MUST_BE_ZERO = {
    "wrong_part": "results or archived rows of another part",
    "ok_without_inspection": "parts that the PLC saw as OK without an inspection that says so",
    "missing_in_archive": "parts that the station took and the archive does not have",
    "without_result": "parts whose TriggerAck the PLC saw, but no result",
    "told_differs": "parts of which the archive has another decision than the PLC saw",
    "archived_twice": "parts with two rows",
    "never_seen": "parts in the archive whose result the PLC never saw",
    "left_in_spool": "parts that the stations did not hand over",
}


@dataclass(slots=True)
class Count:
    """Numbers of parts; `examples` describe some that are wrong."""

    triggers: int = 0
    taken: int = 0
    results: int = 0
    archived: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(MUST_BE_ZERO, 0)))
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong, and something was counted."""
        return self.taken > 0 and not any(self.wrong.values())

    def note(self, kind: str, part: object, text: str = "") -> None:
        """Count something that must not be."""
        self.wrong[kind] += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{kind}: {part} {text}".rstrip())

    def as_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {
            "triggers": self.triggers,
            "taken": self.taken,
            "results": self.results,
            "archived": self.archived,
            "verdicts": dict(self.verdicts),
            "reasons": dict(self.reasons),
            "wrong": dict(self.wrong),
            "examples": self.examples,
        }


Rows = Mapping[str, Mapping[int, Sequence[Inspection]]]
"""The archive's rows by station ("": unknown) and trigger number."""


async def read_rows(url: str) -> Rows:
    """Return all rows of an archive that are no tests."""
    rows: dict[str, dict[int, list[Inspection]]] = defaultdict(lambda: defaultdict(list))
    async with AsyncClient(url, timeout_ms=60_000) as client:
        async for row in client.inspections():
            if row.origin != "test":
                number = (row.meta or {}).get("trigger_number", NO_NUMBER)
                rows[row.station or ""][number].append(row)
    return rows


def taken_of(report: Report) -> set[int]:
    """Return the parts that a station took, as far as the PLC knows."""
    return report.acknowledged | report.verdicts.keys()


def count_station(
    count: Count, station: str, report: Report, rows: Rows, image: Callable[[int], bytes]
) -> None:
    """Add the parts of one station; `image` returns the image of a part."""
    own = rows.get(station, {})
    taken = taken_of(report)
    count.triggers += len(report.part_ids)
    count.taken += len(taken)
    count.results += len(report.verdicts)
    count.archived += sum(map(len, own.values()))
    count.verdicts.update(verdict.name for verdict in report.verdicts.values())
    for problem in report.problems:
        count.note("wrong_part", station, problem)
    for number in sorted(taken - own.keys()):
        count.note("missing_in_archive", (station, number))
    for number in sorted(report.missing):
        count.note("without_result", (station, number))
    for number, of_part in own.items():
        if len(of_part) > 1:
            count.note("archived_twice", (station, number))
        if number not in report.verdicts:
            count.note("never_seen", (station, number), f"told {of_part[0].told}")
        for row in of_part:
            _count_row(count, report, number, row, image)


def _count_row(
    count: Count, report: Report, number: int, row: Inspection, image: Callable[[int], bytes]
) -> None:
    part = (row.station, number)
    verdict = report.verdicts.get(number, Verdict.NONE)
    if row.told_reason:
        count.reasons[row.told_reason] += 1
    if row.part_id != report.part_ids.get(number):
        count.note("wrong_part", part, f"archived as {row.part_id}")
    for sha256 in _image_hashes(row):
        if sha256 != hashlib.sha256(image(number)).hexdigest():
            count.note("wrong_part", part, "has another part's image")
    if verdict is not Verdict.NONE and row.told != _told(verdict):
        count.note("told_differs", part, f"told {row.told}, the PLC saw {verdict.name}")
    was_inspected = row.found == _told(verdict) and bool(row.views)
    if verdict is Verdict.OK and not was_inspected:
        count.note("ok_without_inspection", part, f"found {row.found}")


def _told(verdict: Verdict) -> str:
    return verdict.name if verdict.was_inspected else "UNDECIDED"


def _image_hashes(row: Inspection) -> list[str]:
    views = row.answer.get("views", [])
    hashes = [(view.get("image") or {}).get("sha256") for view in views]
    return [sha256 for sha256 in hashes if sha256]
