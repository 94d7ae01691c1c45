"""A simulated PLC, a station, and a real service with its archive."""

import asyncio
from collections import Counter

import pytest

from service.client import Decision
from service.station.machine.verdicts import Verdict
from tests.service.live import serving
from tests.service.station.plant import Plant, until


@pytest.fixture(scope="module")
def served(tmp_path_factory, weights):
    with serving(weights, versions__state_dir=tmp_path_factory.mktemp("state")) as live:
        yield live


@pytest.mark.parametrize(("recipe", "verdict"), [(1, Verdict.OK), (2, Verdict.NG)])
def test_parts_are_triggered_inspected_told_and_archived(tmp_path, served, image, recipe, verdict):
    first = 1_000 * recipe
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        async with plant.station() as station:
            plc = plant.plc(station, parts=10, recipe=recipe, first_number=first)
            report = await plc.run()
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    assert report.problems == []
    assert set(report.verdicts.values()) == {verdict}
    assert len(report.verdicts) == 10
    for number, part_id in report.part_ids.items():
        row = archived[number]
        assert (row.part_id, row.station, row.origin) == (part_id, "EL-3", "line")
        assert row.told.value == verdict.name
        assert row.answer["views"][0]["image_bytes"]
