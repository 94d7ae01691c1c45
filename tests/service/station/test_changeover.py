"""Change-over: a recipe's categories are warm before Ready, or ahead of time by the schedule.

The service has memory for one model only, so that each other one must be loaded cold.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pymodbus.client import AsyncModbusTcpClient

from service.client import AsyncClient, UnknownCategory
from service.station.inspecting import Inspector
from service.station.machine.faults import ErrorCode
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Verdict
from service.station.schedule import Warmer
from service.station.warming import warm_recipe
from tests.service.live import serving
from tests.service.station.plant import Plant, until


@pytest.fixture(scope="module")
def served(tmp_path_factory, save):
    root = tmp_path_factory.mktemp("changeover")
    save(root / "weights", "parts", {"bolt": 10.0, "nut": -10.0})
    save(root / "weights", "more", {"gear": 10.0})
    with serving(
        root / "weights", versions__state_dir=root / "state", workers__max_model_bytes=1
    ) as live:
        yield live


def loaded(live):
    """Return the names of the models that every worker has in memory."""
    with live.client() as client:
        models = client.get("/models").json()["models"]
    return {model["name"] for model in models if model["workers"]}


def plant_of(tmp_path, served, image, **settings):
    camera = {
        "folder": {
            "path": tmp_path / "shots",
            "pattern": "{trigger_number}.png",
            "renamed_into_place": True,
            "timeout_ms": 20_000,
        }
    }
    recipes = {
        1: {"categories": {"top": "bolt"}},
        2: {"categories": {"top": "gear"}},
        3: {"categories": {"top": "bolt", "side": "nut"}},
        4: {"categories": {"top": "bolt", "side": "nonesuch"}},
    }
    cameras = {"top": camera, "side": camera}
    return Plant(tmp_path, served.url, image, cameras=cameras, recipes=recipes, **settings)


async def prepare(station, recipe):
    """Give the commands of a change-over as a PLC does."""
    async with AsyncModbusTcpClient("127.0.0.1", port=station.door.port) as client:
        for command in (Command.SELECT_MODE_AUTOMATIC, Command.PREPARE_RECIPE):
            await client.write_registers(2, [0, recipe])
            await until(lambda: station.image.ack_command == 0, "no command")
            await client.write_registers(2, [command, recipe])
            await until(lambda: station.image.ack_command != 0, "the command")
            await until(lambda: station.image.command_result != CommandResult.RUNNING, "its end")
        await client.write_registers(2, [0, recipe])
        await until(lambda: station.image.ack_command == 0, "no command")
    assert (station.image.recipe, station.image.state) == (recipe, State.READY)


async def models_of(served):
    return await asyncio.to_thread(loaded, served)


def test_a_cold_model_is_loaded_before_ready_and_the_first_part_is_inspected(
    tmp_path, served, image
):
    plant = plant_of(tmp_path, served, image)
    seen = []

    async def scenario():
        async with plant.station() as station:
            for recipe, first in ((1, 101), (2, 102), (1, 103)):
                await prepare(station, recipe)
                report = await plant.plc(station, parts=1, recipe=recipe, first_number=first).run()
                seen.append((await models_of(served), *report.verdicts.values()))
                assert report.problems == []

    asyncio.run(scenario())
    assert seen == [
        ({"parts"}, Verdict.OK), ({"more"}, Verdict.OK), ({"parts"}, Verdict.OK),
    ]  # fmt: skip


def test_every_category_of_a_recipe_is_prepared(tmp_path, served, image):
    plant = plant_of(tmp_path, served, image)

    async def scenario():
        async with plant.station() as station, AsyncClient(served.url) as client:
            report = await plant.plc(station, parts=1, recipe=3, first_number=201).run()
            tests = [row async for row in client.inspections() if row.origin == "test"]
        return report, {row.category for row in tests[:2]}

    report, prepared = asyncio.run(scenario())
    assert list(report.verdicts.values()) == [Verdict.NG]
    assert prepared == {"bolt", "nut"}


def test_a_recipe_of_which_one_category_cannot_be_inspected_is_not_prepared(
    tmp_path, served, image
):
    plant = plant_of(tmp_path, served, image, autostart_recipe=4)

    async def scenario():
        async with plant.station() as station:
            await until(lambda: station.image.error, "an error")
            assert station.image.error_code is ErrorCode.RECIPE_FAILED
            assert station.image.state is State.INITIALIZED
        async with AsyncClient(served.url) as client:
            inspector = Inspector(plant.settings, client)
            with pytest.raises(UnknownCategory, match="nonesuch"):
                await warm_recipe(inspector, 4, timeout_s=60)
            await inspector.close()

    asyncio.run(scenario())


def test_the_schedule_loads_a_model_and_leaves_the_active_recipe(tmp_path, served, image):
    schedule = [{"at": "05:45", "recipe": 2}, {"at": "05:46", "recipe": 4}]
    plant = plant_of(
        tmp_path, served, image, autostart_recipe=1, time_zone="UTC", schedule=schedule
    )

    async def scenario():
        now = datetime(2026, 11, 26, 5, 44, 30, tzinfo=UTC)
        endings = []

        async def sleep(seconds):
            nonlocal now
            latest = warmer.state.latest
            endings.append(latest and (latest.recipe, latest.is_done))
            now += timedelta(seconds=seconds)
            if latest is not None and latest.recipe == 4:
                raise asyncio.CancelledError

        async with plant.station() as station, AsyncClient(served.url) as client:
            await until(lambda: station.image.recipe == 1, "recipe 1")
            assert await models_of(served) == {"parts"}
            inspector = Inspector(plant.settings, client)
            warmer = Warmer(plant.settings, inspector, now=lambda: now, sleep=sleep)
            with pytest.raises(asyncio.CancelledError):
                await warmer.run()
            assert station.image.recipe == 1
            assert station.vitals().schedule.next_recipe in (2, 4)
            await inspector.close()
        return endings, warmer.state.latest

    endings, latest = asyncio.run(scenario())
    assert (2, True) in endings
    assert endings[-1] == (4, False)
    assert "nonesuch" in latest.text
