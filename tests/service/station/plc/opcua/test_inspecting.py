"""Parts by OPC UA, with asyncua's client, a station, and a real service with its archive."""

import asyncio
import json

import pytest
from asyncua import ua

from service.station.plc.layout import PLC_WRITES, STATION_WRITES
from tests.service.station.plc.opcua.site import (
    AUTOMATIC,
    CAUSE,
    CONFIGURATIONS,
    NOTHING,
    RESULTS,
    STATES,
    call,
    make_ready,
    number32,
    signed32,
    start,
    subscribed,
    text,
)

STATE_CHANGED, READY, RESULT_READY, ACQUIRED, STARTED = 1018, 1023, 1024, 1025, 1013


async def inspected(client, site, events, number):
    """Start a part and return its result's event."""
    job_id, error = await start(client, f"cell-{number}", number)
    assert error == 0
    site.expose(number)
    return await events.until(lambda event: event.JobId.Id == job_id)


async def with_known_model(client, site, events):
    """Inspect a part, and wait until the archive has told the SHA-256 of the model."""
    await inspected(client, site, events, site.number())
    active = client.get_node(f"{CONFIGURATIONS}.ActiveConfiguration")
    async with asyncio.timeout(20):
        while len((await active.read_value()).InternalId.Id) != 64:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("recipe", "verdict"), [("1", "OK"), ("nuts", "NG")])
def test_a_part_is_started_inspected_reported_and_archived(site, run, recipe, verdict):
    async def scenario(client):
        await make_ready(client, recipe)
        events = await subscribed(client, RESULT_READY)
        await with_known_model(client, site, events)
        number = site.number()
        event = await inspected(client, site, events, number)
        assert event.PartId.Id == f"cell-{number}"
        assert event.MeasId.Id == str(number)
        assert event.ProductId.Id == "product-1"
        assert event.ResultState == 1
        content = json.loads(event.ResultContent[0])
        assert content["verdict"] == verdict
        assert content["job_id"] == event.JobId.Id
        assert (content["part_id"], content["trigger_number"]) == (f"cell-{number}", number)
        (one,) = content["inspections"]
        row = (await site.plant.archived())[number]
        assert str(row.inspection_id) == one["inspection_id"]
        assert row.told.value == verdict
        assert len(row.model.sha256) == 64
        assert one["model"] == {
            "name": row.model.name, "version": row.model.version, "sha256": row.model.sha256,
        }  # fmt: skip
        assert event.InternalConfigurationId.Id == row.model.sha256
        assert event.InternalConfigurationId.Hash == bytes.fromhex(row.model.sha256)

    run(scenario)


def test_results_are_found_by_id_by_filters_and_page_by_page(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        numbers = [site.number() for _ in range(3)]
        results = [await inspected(client, site, events, number) for number in numbers]
        ids = [event.ResultId.Id for event in results]
        handle, result, error = await call(
            client, f"{RESULTS}.GetResultById", ua.ResultIdDataType(Id=ids[1]), signed32(0)
        )
        assert error == 0
        assert result.PartId.Id == f"cell-{numbers[1]}"
        assert json.loads(result.ResultContent[0].Value)["result_id"] == ids[1]
        latest = await client.get_node(f"{RESULTS}.Results.Latest").read_value()
        assert latest.ResultId.Id == ids[2]
        components = await call(
            client, f"{RESULTS}.GetResultComponentsById", latest.ResultId, signed32(0)
        )
        assert components[6].Id == f"cell-{numbers[2]}"
        assert json.loads(components[15][0])["result_id"] == ids[2]
        assert await found(client, part_id=f"cell-{numbers[0]}") == [ids[0]]
        assert await found(client, part_id="nobody") == []
        assert await found(client, job_id=results[1].JobId.Id) == [ids[1]]
        assert (await found(client, recipe="1"))[:3] == ids[::-1]
        assert await found(client, most=2, first=1) == ids[1::-1]
        assert await call(client, f"{RESULTS}.ReleaseResultHandle", number32(handle)) == 0
        assert await call(client, f"{RESULTS}.ReleaseResultHandle", number32(handle)) == -5
        unknown = ua.ResultIdDataType(Id="unknown")
        assert (await call(client, f"{RESULTS}.GetResultById", unknown, signed32(0)))[2] == -5

    run(scenario)


async def found(client, part_id="", recipe="", job_id="", most=0, first=0):
    """Return the ids of GetResultListFiltered."""
    outputs = await call(
        client, f"{RESULTS}.GetResultListFiltered", signed32(0), NOTHING,
        ua.PartIdDataType(Id=part_id), ua.RecipeIdExternalDataType(Id=recipe),
        NOTHING, NOTHING, NOTHING, NOTHING, ua.JobIdDataType(Id=job_id),
        number32(most), number32(first), signed32(0),
    )  # fmt: skip
    assert outputs[1] == len(outputs[3] or [])
    assert outputs[4] == 0
    return [result.ResultId.Id for result in outputs[3] or []]


def test_states_and_transitions_are_shown_and_reported(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, STATE_CHANGED, READY, ACQUIRED, STARTED)
        number = site.number()
        job_id, _ = await start(client, "cell", number)
        inner = client.get_node(f"{AUTOMATIC}.CurrentState")
        assert (await inner.read_value()).Text == "SingleExecution"
        assert await client.get_node(f"{AUTOMATIC}.CurrentState.Id").read_value() == ua.NodeId(
            5058, 2
        )
        site.expose(number)
        await events.until(lambda event: event.EventType.Identifier == READY)
        assert await call(client, f"{STATES}.Halt", *CAUSE) == 0
        assert (await client.get_node(f"{STATES}.CurrentState").read_value()).Text == "Halted"
        with pytest.raises(ua.uaerrors.BadStateNotActive):
            await inner.read_value()
        assert await call(client, f"{STATES}.Reset", *CAUSE) == 0
        await events.until(lambda event: getattr(event, "ToState", None) == preoperational)
        transitions = [
            event.Transition.Text for event in events.events if getattr(event, "Transition", None)
        ]
        assert transitions == [
            "ReadyToSingleExecution",
            "SingleExecutionToReadyAuto",
            "OperationalToHalted",
            "HaltedToPreoperational",
        ]
        (acquired,) = [e for e in events.events if e.EventType.Identifier == ACQUIRED]
        (started,) = [e for e in events.events if e.EventType.Identifier == STARTED]
        assert acquired.JobId.Id == started.JobId.Id == job_id

    preoperational = ua.LocalizedText("Preoperational")
    run(scenario)


def test_parts_of_a_continuous_job_are_triggered_one_by_one(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        job, error = await call(
            client, f"{AUTOMATIC}.StartContinuous", NOTHING, NOTHING, NOTHING, NOTHING, NOTHING
        )
        assert error == 0
        for number in (site.number(), site.number()):
            outputs = await call(client, "ns=3;s=Station.TriggerPart", number32(number), text("c"))
            assert outputs == [job.Id, 0]
            site.expose(number)
            event = await events.until(lambda event, n=number: f": {n}," in event.ResultContent[0])
            assert event.JobId.Id == job.Id
        assert await call(client, f"{AUTOMATIC}.Stop", *CAUSE) == 0
        assert len({event.ResultId.Id for event in events.events}) == 2

    run(scenario)


def test_an_aborted_part_is_undecided_and_never_ok(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        number = site.number()
        job_id, _ = await start(client, "aborted", number)
        assert await call(client, f"{AUTOMATIC}.Abort", *CAUSE) == 0
        event = await events.until(lambda event: event.JobId.Id == job_id)
        content = json.loads(event.ResultContent[0])
        assert event.ResultState == 3
        assert (content["verdict"], content["reason"]) == ("UNDECIDED", "ABORTED")
        assert (content["fail_safe"], content["score"]) == ("NG", None)
        site.expose(number)
        assert len([e for e in events.events if e.JobId.Id == job_id]) == 1

    run(scenario)


def test_every_register_is_a_variable_that_nobody_can_write(site, run):
    async def scenario(client):
        await make_ready(client)
        for field in (*PLC_WRITES, *STATION_WRITES):
            node = client.get_node(f"ns=3;s=Station.{field.name}")
            value = await node.read_value()
            assert type(value).__name__ in ("bool", "int", "str")
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node.write_value(await node.read_data_value())
        names = ("Online", "Ready", "State", "ActiveRecipe", "ErrorCode")
        nodes = [client.get_node(f"ns=3;s=Station.{name}") for name in names]
        assert await client.read_values(nodes) == [True, True, 5, 1, 0]

    run(scenario)


def test_the_active_configuration_is_the_model_by_its_sha256(site, run):
    async def scenario(client):
        await make_ready(client)
        events = await subscribed(client, RESULT_READY)
        await with_known_model(client, site, events)
        active = client.get_node(f"{CONFIGURATIONS}.ActiveConfiguration")
        wanted = (await active.read_value()).InternalId
        outputs = await call(
            client, f"{CONFIGURATIONS}.GetConfigurationList", number32(0), number32(0), signed32(0)
        )
        assert [one.InternalId.Id for one in outputs[3]] == [wanted.Id]
        by_id = await call(client, f"{CONFIGURATIONS}.GetConfigurationById", wanted, signed32(0))
        assert (by_id[1].InternalId.Hash.hex(), by_id[2]) == (wanted.Id, 0)
        assert await call(client, f"{CONFIGURATIONS}.ActivateConfiguration", wanted) == -1

    run(scenario)
