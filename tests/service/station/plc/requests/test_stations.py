"""Each door on a whole station, with a real service and its archive."""

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml

from service.client import AsyncClient
from service.station.commissioning import check_station
from tests.service.live import ROOT, RUN, serving
from tests.service.station.plant import Plant
from tests.service.station.plc.requests.clients import CLIENTS, HttpClient

LAST = "the last part"


@pytest.fixture(scope="module")
def served(tmp_path_factory, weights):
    state = tmp_path_factory.mktemp("state")
    with serving(weights, versions__state_dir=state) as live:
        yield live


class Factory:
    """A station with its camera, and the client of its door."""

    first = 1

    def __init__(self, folder, url, image, client, silent_after_ms=15_000):
        Factory.first += 100
        self.first = Factory.first
        self.folder = folder
        self.client = client
        settings = {**client.settings, "answers_folder": str(folder / "answers")}
        self.plant = Plant(
            folder, url, image, silent_after_ms,
            autostart_recipe=1,
            server={"url": url},
            status={"port": 0},
            plc={client.name: settings},
        )  # fmt: skip

    @contextmanager
    def station_process(self):
        """`mambaad station run` in a process of its own."""
        file = self.folder / "station.yaml"
        values = self.plant.settings.model_dump(mode="json", exclude_none=True)
        file.write_text(yaml.safe_dump(values))
        command = [sys.executable, "-c", RUN, "station", "run", str(file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        try:
            assert b"no safety function" in process.stdout.readline()
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def is_in_work(self):
        """Whether the last part is in the spool; its image is awaited."""
        return LAST.encode() in (self.folder / "spool" / "spool.sqlite-wal").read_bytes()

    async def start_last_part(self):
        await self.client.ready()
        asking = asyncio.create_task(self.client.trigger(self.first, LAST))
        while not self.is_in_work():
            await asyncio.sleep(0.01)
        return asking

    async def archived(self, number):
        while number not in (rows := await self.plant.archived()):
            await asyncio.sleep(0.05)
        return rows[number]


@pytest.fixture
def factory(request, tmp_path, served, image):
    client = request.param(tmp_path)
    with client.connected():
        yield Factory(tmp_path, served.url, image, client)


each_door = pytest.mark.parametrize(
    "factory", CLIENTS, ids=[client.name for client in CLIENTS], indirect=True
)


@each_door
def test_parts_are_triggered_inspected_told_and_archived(factory):
    numbers = range(factory.first, factory.first + 5)

    async def take(number):
        await factory.client.ready()
        asking = asyncio.create_task(factory.client.trigger(number, f"part {number}"))
        while not asking.done():  # an image from before TriggerAck does not count
            await factory.plant.expose(number)
            await asyncio.sleep(0.02)
        return await asking

    async def scenario():
        async with asyncio.timeout(60), factory.plant.station():
            answers = [await take(number) for number in numbers]
            return answers, [await factory.archived(number) for number in numbers]

    answers, rows = asyncio.run(scenario())
    assert [answer["trigger_number"] for answer in answers] == list(numbers)
    for answer, row in zip(answers, rows, strict=True):
        assert (answer["verdict"], answer["reason"]) == ("OK", "NONE")
        assert answer["part_id"] == row.part_id == f"part {answer['trigger_number']}"
        assert (row.told, row.found) == ("OK", "OK")
        (inspection,) = answer["inspections"]
        assert inspection["inspection_id"] == str(row.inspection_id)
        assert (inspection["found"], inspection["category"]) == ("OK", "bolt")
        assert inspection["score"] == pytest.approx(answer["score"], abs=1e-4)


@each_door
def test_a_station_that_is_stopped_answers_its_part_first(factory):
    async def scenario():
        async with asyncio.timeout(60):
            async with factory.plant.station():
                asking = await factory.start_last_part()
                exposing = asyncio.create_task(factory.plant.expose(factory.first))
            await exposing
            return await asking

    answer = asyncio.run(scenario())
    assert (answer["verdict"], answer["part_id"]) == ("OK", LAST)


@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(client, marks=[] if client is HttpClient else [pytest.mark.long])
        for client in CLIENTS
    ],
    ids=[client.name for client in CLIENTS],
    indirect=True,
)
def test_a_station_killed_between_trigger_and_reply_tells_the_part_after_its_restart(factory):
    number = factory.first

    async def until_killed(process):
        async with asyncio.timeout(60):
            asking = await factory.start_last_part()
            process.kill()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def after():
        async with asyncio.timeout(60):
            answer = await factory.client.told_after_restart(number, LAST)
            refused = await factory.client.trigger(number + 1, "next")
            await factory.client.acknowledge_error()
            await factory.client.ready()
            return answer, refused, await factory.archived(number)

    with factory.station_process() as process:
        asyncio.run(until_killed(process))
    with factory.station_process() as process:
        answer, refused, row = asyncio.run(after())
        process.terminate()
        assert process.wait(60) == 0
    assert (answer["verdict"], answer["reason"]) == ("UNDECIDED", "STATION_RESTARTED")
    assert (row.told, row.told_reason, row.found) == ("UNDECIDED", "station-restarted", None)
    assert refused["detail"] == "the station is in the state error: unclean restart"


@pytest.mark.parametrize("kind", CLIENTS, ids=[client.name for client in CLIENTS])
def test_the_check_says_what_was_tried_and_changes_nothing(tmp_path, served, image, kind):
    client = kind(tmp_path)
    factory = Factory(tmp_path, served.url, image, client, silent_after_ms=20)

    async def scenario():
        async with AsyncClient(served.url) as service:
            return await check_station(factory.plant.settings, service)

    def files():
        return sorted(str(path) for path in tmp_path.rglob("*") if "broker" not in str(path))

    with client.connected():
        before = files()
        (door,) = [c for c in asyncio.run(scenario()) if c.what.startswith("PLC")]
        assert files() == before
    assert door.is_sound
    assert any(words in door.value for words in ("can listen", "connected", "can be read"))
