"""The station's triggers among faults: the count finds what is wrong, and a minute of them."""

import asyncio
from types import SimpleNamespace

import pytest

from benchmarks.stationing.counting import Count, count_station
from benchmarks.stationing.triggering import Roughness, run_rough
from service.station.machine.verdicts import Verdict
from service.station.simulating import Report


def report():
    return Report(
        part_ids={1: "part-1", 2: "part-2", 3: "part-3"},
        acknowledged={1, 2},
        verdicts={1: Verdict.OK, 2: Verdict.UNDECIDED},
    )


def row(number, told, found=None, part_id=None):
    return SimpleNamespace(
        station="EL-1", told=told, told_reason=None, found=found, views=[1] if found else [],
        part_id=part_id or f"part-{number}", answer={"views": []},
    )  # fmt: skip


GOOD = {1: [row(1, "OK", "OK")], 2: [row(2, "UNDECIDED")]}


def counted(rows, seen=None):
    count = Count()
    count_station(count, "EL-1", seen or report(), {"EL-1": rows}, lambda number: b"")
    return count


def test_what_the_archive_has_as_the_plc_saw_it_holds():
    count = counted(GOOD)
    assert count.holds
    assert (count.triggers, count.taken, count.results, count.archived) == (3, 2, 2, 2)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ({1: GOOD[1]}, "missing_in_archive"),
        ({**GOOD, 2: [*GOOD[2], *GOOD[2]]}, "archived_twice"),
        ({**GOOD, 2: [row(2, "NG", "NG")]}, "told_differs"),
        ({**GOOD, 1: [row(1, "OK")]}, "ok_without_inspection"),
        ({**GOOD, 2: [row(2, "UNDECIDED", part_id="part-1")]}, "wrong_part"),
        ({**GOOD, 3: [row(3, "UNDECIDED")]}, "never_seen"),
    ],
)
def test_what_is_wrong_is_found(rows, kind):
    count = counted(rows)
    assert {name for name, number in count.wrong.items() if number} == {kind}
    assert not count.holds


def test_a_part_without_result_and_a_result_of_another_part_are_found():
    seen = report()
    del seen.verdicts[2]
    seen.problems.append("a result for 1 'part-2'")
    count = counted(GOOD, seen)
    assert count.wrong["without_result"] == count.wrong["wrong_part"] == 1
    assert not counted({}, Report()).holds  # nothing was counted


@pytest.mark.long
def test_a_minute_of_triggers_among_kills_and_cuts(tmp_path):
    roughness = Roughness(seed=3, station_kill_s=10, service_kill_s=25)
    outcome = asyncio.run(run_rough(tmp_path, 10**6, 60, roughness, lambda _: None))
    assert outcome.count.holds, outcome.count.examples
    assert outcome.count.taken > 50
    assert sum(outcome.faults.values()) > 5
