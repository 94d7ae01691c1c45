"""The service behind a station: killed, changed, without an archive, of a wrong certificate."""

import asyncio
import os
import signal
import ssl
import subprocess

import httpx
import pytest

from service.station.machine.verdicts import Reason, Verdict
from tests.service.delivery.certificates import Authority
from tests.service.live import ROOT, serving
from tests.service.station.plant import Plant, check, until, until_ready
from tests.service.station.process import (
    command,
    connected,
    running,
    take_result,
    trigger,
    until_outputs,
    write,
    write_station_file,
)
from tests.service.station.proxy import Proxy

QUICK = {"takt_ms": 6_000, "reserve_ms": 500, "ack_timeout_ms": 60_000}


@pytest.mark.slow
def test_a_service_killed_while_it_inspects_costs_its_part_alone(tmp_path, weights, image, first):
    """Its worker is held, so that the part is certainly in work; then the same archive is back."""
    state = tmp_path / "state"
    plant = Plant(tmp_path, "", image, times=QUICK)

    def kill(live):
        worker = live.worker
        live.process.kill()
        worker.kill()  # it is held, and has the service's output open
        live.await_end()

    async def scenario(first_live, started_again):
        proxy = Proxy(first_live.url)
        async with proxy.listening() as url, plant.station(url) as station:
            await until_ready(station)
            os.kill(first_live.worker.pid, signal.SIGSTOP)
            async with connected(station.door.port) as client:
                asked = proxy.asked
                await trigger(client, first, "in work", plant.expose)
                await until(lambda: proxy.asked > asked, "request")
                await asyncio.sleep(0.2)
                await asyncio.to_thread(kill, first_live)
                seen = await take_result(client)
            with started_again() as second:
                plant.url = second.url
                proxy.lead_to(second.url)
                report = await plant.plc(station, parts=3, first_number=first + 1).run()
                await until(lambda: station.waiting == 0, "empty spool")
                return seen, report, await plant.archived()

    def start():
        return serving(weights, versions__state_dir=state, archive__keep_images="OK=1")

    with start() as live:
        seen, report, archived = asyncio.run(scenario(live, start))
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [Verdict.OK] * 3
    assert (seen["ResultPartId"], seen["Verdict"]) == ("in work", Verdict.UNDECIDED)
    assert seen["Reason"] in (Reason.SERVICE_AWAY, Reason.DEADLINE)
    assert (archived[first].told, archived[first].found) == ("UNDECIDED", "OK")
    assert archived[first].answer["views"][0]["image"]["sha256"] == plant.sha256(first)


@pytest.mark.slow
def test_a_version_that_changes_between_trigger_and_answer_is_told_as_it_decided(
    tmp_path, live_store, image, first
):
    """Version 2 is routed to after TriggerAck, version 1 while the answer of 2 is on its way."""
    plant = Plant(tmp_path, "", image)

    def route(version):
        answer = httpx.post(
            f"{plant.url}/categories/bolt/route",
            json={"stable": {"name": "parts", "version": version}, "keep_previous": True},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text

    async def scenario():
        proxy = Proxy(plant.url)
        async with proxy.listening() as url, plant.station(url) as station:
            await asyncio.to_thread(route, "1")
            await until_ready(station)
            async with connected(station.door.port) as client:
                await trigger(client, first)
                await asyncio.to_thread(route, "2")
                await plant.expose(first)
                results = [await take_result(client)]
                proxy.delay_s = 1.0
                await trigger(client, first + 1, expose=plant.expose)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(route, "1")
                results.append(await take_result(client))
                proxy.delay_s = 0.0
                await trigger(client, first + 2, expose=plant.expose)
                results.append(await take_result(client))
            await until(lambda: station.waiting == 0, "empty spool")
        return results, await plant.archived()

    with serving(live_store, versions__state_dir=tmp_path / "state") as live:
        plant.url = live.url
        results, archived = asyncio.run(scenario())
    assert [result["Verdict"] for result in results] == [Verdict.OK] * 3
    rows = [archived[number] for number in range(first, first + 3)]
    assert [row.told for row in rows] == ["OK"] * 3
    assert [row.model.version for row in rows] == ["2", "2", "1"]


@pytest.mark.slow
def test_without_an_archive_parts_stay_in_the_spool_until_there_is_one(
    tmp_path, served, weights, image, first, caplog
):
    plant = Plant(tmp_path, served.url, image)

    async def without(url):
        async with plant.station(url) as station:
            report = await plant.plc(station, parts=3, first_number=first).run()
            await until(lambda: "has no archive" in caplog.text, "word of it")
            return report, station.waiting

    async def with_one():
        async with plant.station() as station:
            assert station.waiting == 3
            await until(lambda: station.waiting == 0, "empty spool")
        return await plant.archived()

    with serving(weights, versions__state_dir=tmp_path / "state", archive__enabled="false") as live:
        report, waiting = asyncio.run(without(live.url))
    archived = asyncio.run(with_one())
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [Verdict.OK] * 3
    assert waiting == 3
    assert "stays in the spool" in caplog.text
    for number in report.verdicts:
        assert archived[number].answer["views"][0]["image"]["sha256"] == plant.sha256(number)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


def context_of(certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def test_a_service_with_a_certificate_of_the_named_authority_is_trusted(
    tmp_path, served, image, first, authority
):
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening(context_of(*authority.sign("line"))) as url:
            port = write_station_file(tmp_path, url, server=f"  ca_file: {authority.file}")
            with running(tmp_path):
                async with connected(port) as client:
                    await trigger(client, first, expose=plant.expose)
                    return await take_result(client)

    assert asyncio.run(scenario())["Verdict"] == Verdict.OK


@pytest.mark.parametrize("fault", ["expired", "another authority", "no ca_file"])
def test_a_service_whose_certificate_is_wrong_gets_no_part(
    tmp_path, served, first, authority, fault
):
    """The recipe is never prepared, and the station says why; nothing goes over the connection."""
    certificate = authority.sign("old", days=-1 if fault == "expired" else 7)
    trusted = authority.file
    if fault == "another authority":
        trusted = Authority(tmp_path / "other").file
    server = "" if fault == "no ca_file" else f"  ca_file: {trusted}"

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening(context_of(*certificate)) as url:
            port = write_station_file(tmp_path, url, server=server)
            checking = await asyncio.create_subprocess_exec(
                *command(tmp_path, "check"), cwd=ROOT, stdout=subprocess.PIPE
            )
            text, _ = await checking.communicate()
            with running(tmp_path):
                async with connected(port) as client:
                    await write(client, trigger=True, trigger_number=first)
                    await write(client)
                    await write(client, trigger=True, trigger_number=first)
                    seen = await until_outputs(client, MissedTrigger=True)
        return text.decode(), checking.returncode, seen, proxy.asked

    text, status, seen, asked = asyncio.run(scenario())
    assert status == 2
    assert "certificate verify failed" in text
    assert (seen["Ready"], seen["Busy"], seen["ActiveRecipe"]) == (False, False, 0)
    assert asked == 0


def test_an_authority_that_cannot_be_read_is_said_at_the_start(tmp_path, served):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        write_station_file(tmp_path, "https://127.0.0.1:1", server=f"  ca_file: {name}")
        started = subprocess.run(
            command(tmp_path, "run"), cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert started.returncode == 2
        assert f"{name} cannot be read" in started.stderr
        assert "Traceback" not in started.stderr
