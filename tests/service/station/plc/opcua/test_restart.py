"""A station that restarts, without security on loopback."""

import asyncio
import json
import socket
from datetime import UTC, datetime

import pytest
from asyncua import Client, ua

from service.identifiers import new_id
from service.station.parts import PartInspection, SpooledPart
from service.station.spool import Spool, SpoolLimits
from tests.service.station.plc.opcua.site import (
    NOTHING,
    RESULTS,
    STATES,
    Site,
    call,
    make_ready,
    number32,
    signed32,
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def interrupt(site):
    """Leave a part in the spool, as a station does that is killed with a part in work."""
    limits = SpoolLimits(max_parts=10, max_bytes=2**20, min_free_bytes=0)
    spool = Spool.open(site.plant.settings.spool.folder, limits)
    inspection = PartInspection("bolt", str(new_id()), ("top",))
    spool.add(SpooledPart(spool.next_job, 1, 77, "interrupted", datetime.now(UTC), (inspection,)))
    spool.close()


async def results_of(client, part_id):
    outputs = await call(
        client, f"{RESULTS}.GetResultListFiltered", signed32(0), NOTHING,
        ua.PartIdDataType(Id=part_id), *[NOTHING] * 6, number32(0), number32(0), signed32(0),
    )  # fmt: skip
    return [json.loads(result.ResultContent[0].Value) for result in outputs[3] or []]


@pytest.mark.slow
def test_an_interrupted_part_is_undecided_and_clients_come_back(site, tmp_path, image):
    options = dict.fromkeys(("certificate", "key", "trusted", "users"))
    restarting = Site(
        tmp_path, site.plant.url, image,
        no_security=True, anonymous="command", port=free_port(), **options,
    )  # fmt: skip
    interrupt(restarting)

    async def first_run(client):
        await client.connect()
        await client.load_data_type_definitions()
        registers = [client.get_node(f"ns=3;s=Station.{name}") for name in ("State", "ErrorCode")]
        assert await client.read_values(registers) == [3, 1]
        async with asyncio.timeout(20):
            while not (results := await results_of(client, "interrupted")):
                await asyncio.sleep(0.05)
        (result,) = results
        assert (result["verdict"], result["reason"]) == ("UNDECIDED", "STATION_RESTARTED")
        assert (result["restored"], result["job_id"]) == (True, "")
        await call(client, f"{STATES}.ConfirmAll", ua.LocalizedText("seen"))
        await make_ready(client)

    async def second_run():
        async with Client(restarting.url) as client:
            await client.load_data_type_definitions()
            assert await results_of(client, "interrupted") == []
            await make_ready(client)

    async def across_a_restart():
        with restarting.running():
            client = Client(restarting.url)
            await first_run(client)
        with pytest.raises((ConnectionError, ua.UaError, asyncio.TimeoutError)):
            await asyncio.wait_for(client.get_node("ns=3;s=Station.Online").read_value(), 5)
        await asyncio.gather(client.disconnect(), return_exceptions=True)
        with restarting.running():
            await second_run()

    asyncio.run(across_a_restart())
