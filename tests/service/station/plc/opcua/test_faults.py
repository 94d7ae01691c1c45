"""Clients that err, leave, flood or wait: the station goes on, and no part is lost."""

import asyncio
import json
from contextlib import suppress

import pytest
from asyncua import ua

from service.station.machine.states import State
from tests.service.station.plant import until
from tests.service.station.plc.opcua.site import (
    AUTOMATIC,
    NOTHING,
    RECIPES,
    RESULTS,
    STATES,
    call,
    make_ready,
    number32,
    prepare,
    signed32,
    start,
    subscribed,
    text,
)

RECIPE_PREPARED, RESULT_READY = 1022, 1024


def test_recipes_are_listed_prepared_by_number_or_name_and_unprepared(run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RECIPE_PREPARED)
        assert await listed(client) == ["1", "2", "3"]
        assert await listed(client, external="nuts") == ["2"]
        assert await listed(client, is_prepared=1) == ["1"]
        assert await listed(client, most=1, first=1) == ["2"]
        internal, is_completed, error = await prepare(client, "nuts")
        assert (internal.Id, is_completed, error) == ("2", True, 0)
        event = await events.until(lambda event: event.ExternalId.Id == "2")
        assert event.InternalId.Hash == internal.Hash
        assert (await unprepare(client, "1"))[1] == -4
        assert (await unprepare(client, "2"))[1] == 0
        assert await listed(client, is_prepared=1) == []

    run(scenario)


async def listed(client, external="", is_prepared=2, most=0, first=0):
    outputs = await call(
        client, f"{RECIPES}.GetRecipeListFiltered", ua.RecipeIdExternalDataType(Id=external),
        NOTHING, signed32(is_prepared), number32(most), number32(first), signed32(0),
    )  # fmt: skip
    assert (outputs[1], outputs[4]) == (len(outputs[3] or []), 0)
    return [recipe.Id for recipe in outputs[3] or []]


async def unprepare(client, recipe):
    external = ua.RecipeIdExternalDataType(Id=recipe)
    return await call(client, f"{RECIPES}.UnprepareRecipe", external, NOTHING)


def test_a_recipe_that_does_not_exist_or_cannot_be_prepared(site, run):
    async def scenario(client):
        await make_ready(client)
        for unknown in ("77", "", "no such", "\0"):
            await make_ready(client)
            assert (await prepare(client, unknown))[1:] == [False, -4]
            assert not site.station.image.ready  # with the recipe before, parts would be mixed up
            assert site.station.image.recipe == 0
            assert site.station.image.error_code.name == "UNKNOWN_RECIPE"
            await call(client, f"{STATES}.ConfirmAll", ua.LocalizedText("seen"))
        await make_ready(client)
        assert (await prepare(client, "nothing"))[1:] == [False, -2]
        assert site.station.image.error_code.name == "RECIPE_FAILED"
        assert (await start(client, "without a recipe"))[1] == -1
        await call(client, f"{STATES}.ConfirmAll", ua.LocalizedText("seen"))
        assert not site.station.image.error

    run(scenario)


def test_commands_are_refused_while_a_part_is_in_work(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        number = site.number()
        job_id, error = await start(client, "in work", number)
        assert error == 0
        assert (await prepare(client, "2"))[1:] == [False, -1]
        assert (await start(client, "too early"))[1] == -1
        assert (await start(client, "in work", number))[1] == -3
        assert (await start(client, "other recipe", recipe="2"))[1] == -4
        assert (await unprepare(client, "1"))[1] == -1
        site.expose(number)
        event = await events.until(lambda event: event.JobId.Id == job_id)
        assert json.loads(event.ResultContent[0])["verdict"] == "OK"
        assert not site.station.image.missed_trigger

    run(scenario)


def test_wrong_arguments_are_refused_one_by_one(site, run):
    async def scenario(client):
        await make_ready(client)
        names = ua.MeasIdDataType(Id="m"), ua.PartIdDataType(Id="p"), NOTHING, NOTHING, NOTHING
        path = f"{AUTOMATIC}.StartSingleJob"
        with pytest.raises(ua.uaerrors.BadArgumentsMissing):
            await call(client, path, *names[:4])
        with pytest.raises(ua.uaerrors.BadTooManyArguments):
            await call(client, path, *names, NOTHING)
        for place, wrong in ((0, signed32(3)), (1, names[0]), (2, text("1")), (3, names[:2])):
            arguments = list(names)
            arguments[place] = wrong
            with pytest.raises(ua.uaerrors.BadInvalidArgument):
                await call(client, path, *arguments)
        with pytest.raises(ua.uaerrors.BadInvalidArgument):
            await call(client, f"{RESULTS}.ReleaseResultHandle", text("5"))
        assert (await start(client, "control\x07character"))[1] == -6
        assert (await start(client, "x" * 33))[1] == -6
        assert (await start(client, "p", "m" * 300))[1] == -6
        odd = [ua.Variant(5, ua.VariantType.Int64)]
        arguments = [*names[:4], ua.Variant(odd, ua.VariantType.Variant, is_array=True)]
        assert (await call(client, path, *arguments))[1] == -6
        assert site.station.image.state is State.READY

    run(scenario)


def test_a_client_that_vanishes_during_commands_harms_nobody(site, run):
    """Its connection is cut while it waits for PrepareRecipe, and while its part is in work."""
    number = site.number()

    async def vanish():
        async with asyncio.timeout(60):
            client = await connected(site)
            await make_ready(client)
            waiting = asyncio.create_task(prepare(client, "2"))
            await until(lambda: site.station.image.state is State.INITIALIZED, "preparing")
            await cut(client, waiting)
            await until(lambda: site.station.image.ready, "prepared")
            client = await connected(site)
            job_id, error = await start(client, "vanished", number)
            assert error == 0
            await cut(client)
            return job_id

    job_id = asyncio.run(vanish())
    site.expose(number)

    async def scenario(client):
        result = None
        while result is None:
            outputs = await call(
                client, f"{RESULTS}.GetResultListFiltered", signed32(0),
                *[NOTHING] * 7, ua.JobIdDataType(Id=job_id), number32(0), number32(0), signed32(0),
            )  # fmt: skip
            result = next(iter(outputs[3] or []), None)
        assert json.loads(result.ResultContent[0].Value)["verdict"] == "NG"
        assert result.PartId.Id == "vanished"

    run(scenario)


async def connected(site):
    client = await site.secured()
    client.set_user("scada")
    client.set_password("line-three-commands")
    await client.connect()
    await client.load_data_type_definitions()
    return client


async def cut(client, *waiting):
    """Break a connection without a word."""
    client.uaclient.protocol.transport.abort()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(client.disconnect(), return_exceptions=True)


def test_a_hundred_connections_leave_room_when_they_are_gone(site, run):
    port = site.station.door.port

    async def flood():
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        await until(lambda: site.station.door.clients == 8, "full")
        endings = [asyncio.create_task(reader.read()) for reader, _ in streams]
        done, waiting = await asyncio.wait(endings, timeout=1)
        assert len(done) == 92
        assert len(waiting) == 8
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*waiting)
        await until(lambda: site.station.door.clients == 0, "empty")

    async def scenario(client):
        await make_ready(client)

    asyncio.run(flood())
    run(scenario)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"HELF\xff\xff\xff\x7f" + bytes(1_200_000),
        b"\0" * 100,
        b"OPNF\x20\0\0\0" + bytes(24),
        bytes(range(256)) * 8_000,
    ],
)
def test_rubbish_is_refused_and_the_station_goes_on(site, run, rubbish):
    async def send():
        reader, writer = await asyncio.open_connection("127.0.0.1", site.station.door.port)
        with suppress(OSError):
            writer.write(rubbish)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 20)
        writer.close()

    async def scenario(client):
        assert await client.get_node("ns=3;s=Station.Online").read_value()

    asyncio.run(send())
    run(scenario)


def test_a_subscriber_that_does_not_read_delays_nobody(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        async with site.client("panel") as slow:
            late = await subscribed(slow, RESULT_READY)
            slow.uaclient.protocol.transport.pause_reading()
            jobs = []
            for number in [site.number() for _ in range(12)]:
                job_id, error = await start(client, f"slow-{number}", number)
                assert error == 0
                site.expose(number)
                await events.until(lambda event, wanted=job_id: event.JobId.Id == wanted)
                jobs.append(job_id)
            assert late.events == []
            slow.uaclient.protocol.transport.resume_reading()
            await late.until(lambda event: event.JobId.Id == jobs[-1])
        assert [event.JobId.Id for event in late.events] == jobs

    run(scenario)
