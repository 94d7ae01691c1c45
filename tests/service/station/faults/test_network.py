"""The network between station and service: cut, half-open, healed; and a service that refuses."""

import asyncio
import logging

import pytest

from service.station import posting
from service.station.machine.verdicts import Verdict
from tests.service.station.plant import Plant, check, until, until_ready
from tests.service.station.proxy import Proxy

QUICK = {"takt_ms": 1_200, "reserve_ms": 200, "ack_timeout_ms": 60_000}
OVERLOADED = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nRetry-After: 30\r\n"
    b"Content-Length: 27\r\nConnection: close\r\n\r\n<h1>Service Unavailable</h1>"
)
"""As a load balancer answers without a service behind it."""


def run(plant, served, first, trouble):
    """Trigger parts before, in and after trouble; `trouble` yields the parts in it."""

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening() as url, plant.station(url) as station:
            before = await plant.plc(station, parts=2, first_number=first).run()
            meanwhile = await trouble(proxy, station)
            after = await plant.plc(station, parts=3, first_number=first + 100).run()
            await until(lambda: station.waiting == 0, "empty spool")
        return (before, meanwhile, after), await plant.archived()

    reports, archived = asyncio.run(scenario())
    for report in reports:
        check(plant, report, archived)
    before, meanwhile, after = reports
    assert set(before.verdicts.values()) | set(after.verdicts.values()) == {Verdict.OK}
    return meanwhile, archived


def test_a_network_that_is_cut_again_and_again_mixes_up_no_part(tmp_path, served, image, first):
    plant = Plant(tmp_path, served.url, image)

    async def trouble(proxy, station):
        running = asyncio.create_task(
            plant.plc(station, parts=30, first_number=first + 10, seed=3).run()
        )
        while not running.done():
            await asyncio.sleep(0.05)
            proxy.cut()
        return await running

    meanwhile, _ = run(plant, served, first, trouble)
    assert len(meanwhile.verdicts) == 30
    assert Verdict.NG not in meanwhile.verdicts.values()


def test_half_open_connections_cost_their_parts_alone(tmp_path, served, image, first, monkeypatch):
    """Nobody closes, and no byte arrives: the deadline of the part decides."""
    monkeypatch.setattr(posting, "_TIMEOUT_MS", 500.0)
    plant = Plant(tmp_path, served.url, image, times=QUICK)

    async def trouble(proxy, station):
        proxy.swallows = True
        report = await plant.plc(station, parts=2, first_number=first + 10).run()
        proxy.swallows = False
        return report

    meanwhile, archived = run(plant, served, first, trouble)
    assert list(meanwhile.verdicts.values()) == [Verdict.UNDECIDED] * 2
    for number in meanwhile.verdicts:
        assert (archived[number].told_reason, archived[number].found) == ("deadline", "OK")


def test_a_service_that_answers_503_leaves_its_parts_undecided(tmp_path, served, image, first):
    """It asks to come back in 30 s, which is long after the takt."""
    plant = Plant(tmp_path, served.url, image, times=QUICK)

    async def trouble(proxy, station):
        proxy.answer = OVERLOADED
        proxy.cut()
        report = await plant.plc(station, parts=3, first_number=first + 10).run()
        assert station.waiting == 3
        proxy.answer = b""
        return report

    meanwhile, archived = run(plant, served, first, trouble)
    assert list(meanwhile.verdicts.values()) == [Verdict.UNDECIDED] * 3
    assert {archived[number].told_reason for number in meanwhile.verdicts} == {"service-away"}


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"OK"])
def test_rubbish_instead_of_an_answer_is_never_ok(tmp_path, served, image, first, answer):
    plant = Plant(tmp_path, served.url, image, times=QUICK)

    async def trouble(proxy, station):
        proxy.answer = answer or b"\0"
        proxy.cut()
        report = await plant.plc(station, parts=2, first_number=first + 10).run()
        proxy.answer = b""
        return report

    meanwhile, _ = run(plant, served, first, trouble)
    assert list(meanwhile.verdicts.values()) == [Verdict.UNDECIDED] * 2


def test_a_camera_that_fails_in_an_unforeseen_way_leaves_the_station_at_work(
    tmp_path, served, image, first, caplog
):
    """A driver may raise anything, also before there is an image."""
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        async with plant.station() as station:
            await until_ready(station)
            camera = station._inspector.cameras["top"]
            arm, broken = camera.arm, asyncio.Event()

            async def fail(shot):
                if broken.is_set():
                    raise RuntimeError("the driver has lost its bus")
                return await arm(shot)

            camera.arm = fail
            broken.set()
            failed = await plant.plc(station, parts=2, first_number=first).run()
            broken.clear()
            sound = await plant.plc(station, parts=2, first_number=first + 10).run()
            await until(lambda: station.waiting == 0, "empty spool")
        return failed, sound, await plant.archived()

    with caplog.at_level(logging.WARNING):
        failed, sound, archived = asyncio.run(scenario())
    for report in (failed, sound):
        check(plant, report, archived)
    assert list(failed.verdicts.values()) == [Verdict.UNDECIDED] * 2
    assert list(sound.verdicts.values()) == [Verdict.OK] * 2
    assert {archived[number].told_reason for number in failed.verdicts} == {"camera-silent"}
    assert "lost its bus" in caplog.text


def test_an_error_in_the_posting_of_one_part_does_not_end_that_of_the_others(
    tmp_path, served, image, first, caplog
):
    plant = Plant(tmp_path, served.url, image, times=QUICK)

    async def trouble(proxy, station):
        proxy.go()
        report = await plant.plc(station, parts=3, first_number=first + 10).run()
        image_of = station._spool.image
        failures = iter([RuntimeError("unforeseen")])

        def fail_once(job, camera):
            if error := next(failures, None):
                raise error
            return image_of(job, camera)

        station._spool.image = fail_once
        proxy.is_away = False
        return report

    meanwhile, _ = run(plant, served, first, trouble)
    assert list(meanwhile.verdicts.values()) == [Verdict.UNDECIDED] * 3
    assert "unforeseen" in caplog.text
