"""The station's disk: full, read-only, or with a file that is no spool."""

import asyncio
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import psutil
import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.verdicts import Verdict
from tests.service.live import ROOT
from tests.service.station.plant import Plant, until
from tests.service.station.process import (
    clear_errors,
    command,
    connected,
    running,
    take_result,
    trigger,
    until_outputs,
    write,
    write_station_file,
)

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
_FULL = {"SPOOL_FULL", "SPOOL_UNWRITABLE"}


@contextmanager
def small_disk(folder):
    """A file system of one megabyte."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def cover(folder):
    """Make a file system read-only for all who open a file from now on."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)


def fill(folder):
    """Take all of a disk; return the file that does."""
    file = folder / "fills-the-disk"
    with file.open("wb", buffering=0) as stream:
        for size in (65_536, 4_096, 512, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue
    return file


async def refused_trigger(client, number):
    """Trigger a part that the station cannot take; return the registers."""
    await write(client)
    await until_outputs(client, Ready=True)
    await write(client, trigger=True, trigger_number=number, part_id="refused")
    seen = await until_outputs(client, Error=True, Busy=False)
    await write(client)
    return seen


async def inspected_part(client, plant, number):
    """Acknowledge the errors, and have a part inspected; return its result."""
    await write(client)
    await clear_errors(client)
    await trigger(client, number, "sound", plant.expose)
    return await take_result(client)


async def until_archived(plant, told):
    """Wait until the archive has what the line was told of each part."""
    seen = {}
    try:
        async with asyncio.timeout(30):
            while seen != told:
                rows = await plant.archived()
                seen = {number: rows[number].told for number in told if number in rows}
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"expected {told}, got {seen}") from None
    return rows


def test_a_disk_that_refuses_every_write_takes_no_part_until_it_is_back(
    tmp_path, served, image, first
):
    plant = Plant(tmp_path, served.url, image)
    port = write_station_file(tmp_path, served.url)

    async def scenario(process):
        async with connected(port) as client:
            await write(client)
            await until_outputs(client, Ready=True)
            station = psutil.Process(process.pid)
            limits = station.rlimit(psutil.RLIMIT_FSIZE)
            station.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            refused = await refused_trigger(client, first)
            station.rlimit(psutil.RLIMIT_FSIZE, limits)
            sound = await inspected_part(client, plant, first + 1)
            return refused, sound, await until_archived(plant, {first + 1: "OK"})

    with running(tmp_path) as process:
        refused, sound, archived = asyncio.run(scenario(process))
    assert (refused["ErrorCode"], refused["State"]) == (ErrorCode.SPOOL_UNWRITABLE, State.ERROR)
    assert (refused["TriggerAck"], refused["Ready"], refused["Buffered"]) == (False, False, 0)
    assert (sound["ResultTriggerNumber"], sound["Verdict"]) == (first + 1, Verdict.OK)
    assert first not in archived


@AS_ROOT
def test_a_full_disk_takes_no_part_and_shows_no_decision_that_it_cannot_keep(
    tmp_path, served, image, first
):
    """Full before a trigger; then full between TriggerAck and the image."""
    plant = Plant(tmp_path, served.url, image)

    async def scenario(disk):
        async with connected(port) as client:
            sound = [await inspected_part(client, plant, first)]
            filling = fill(disk)
            refused = await refused_trigger(client, first + 1)
            filling.unlink()
            sound.append(await inspected_part(client, plant, first + 2))
            await trigger(client, first + 3, "cut short")
            filling = fill(disk)
            await plant.expose(first + 3)
            failed = await until_outputs(client, Busy=False, Error=True)
            filling.unlink()
            undecided = await take_result(client)
            sound.append(await inspected_part(client, plant, first + 4))
            told = {first: "OK", first + 3: "UNDECIDED", first + 4: "OK"}
            return sound, refused, failed, undecided, await until_archived(plant, told)

    with small_disk(tmp_path / "disk") as disk:
        port = write_station_file(tmp_path, served.url, spool=disk / "spool")
        with running(tmp_path):
            sound, refused, failed, undecided, archived = asyncio.run(scenario(disk))
    for seen in (refused, failed):
        assert ErrorCode(seen["ErrorCode"]).name in _FULL
        assert seen["State"] == State.ERROR
    assert refused["TriggerAck"] is False
    assert [result["Verdict"] for result in sound] == [Verdict.OK] * 3
    assert first + 1 not in archived
    assert (undecided["ResultTriggerNumber"], undecided["Verdict"]) == (
        first + 3,
        Verdict.UNDECIDED,
    )


@AS_ROOT
def test_a_read_only_spool_is_refused_at_the_start(tmp_path, served):
    with small_disk(tmp_path / "disk") as disk:
        write_station_file(tmp_path, served.url, spool=disk / "spool")
        remount(disk, "ro")
        started = subprocess.run(
            command(tmp_path, "run"), cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
    assert started.returncode == 2
    assert "let the station's user write there" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_spool_whose_folder_is_deleted_is_noticed_without_a_trigger(
    tmp_path, served, image, first, caplog
):
    """Then the folder comes back, and with the error's acknowledgement the station works again."""
    plant = Plant(tmp_path, served.url, image, autostart_recipe=1)
    folder = tmp_path / "spool"

    async def scenario():
        async with plant.station() as station, connected(station.door.port) as client:
            await write(client)
            await until_outputs(client, Ready=True)
            shutil.rmtree(folder)
            lost = await until_outputs(client, Error=True)
            await write(client, clear_error=True)
            await until_outputs(client, Error=False)
            await write(client)
            again = await until_outputs(client, Error=True)  # it is still away
            folder.mkdir()
            await until(lambda: "can be used again" in caplog.text, "the folder is back")
            sound = await inspected_part(client, plant, first)
            return lost, again, sound, await until_archived(plant, {first: "OK"})

    lost, again, sound, _ = asyncio.run(scenario())
    for seen in (lost, again):
        assert (seen["ErrorCode"], seen["State"]) == (ErrorCode.SPOOL_UNWRITABLE, State.ERROR)
        assert not seen["Ready"]
    assert (sound["ResultTriggerNumber"], sound["Verdict"]) == (first, Verdict.OK)
    assert f"the spool's folder {folder}: No such file" in caplog.text


@AS_ROOT
def test_a_spool_whose_disk_becomes_read_only_is_noticed_without_a_trigger(
    tmp_path, served, image, caplog
):
    with small_disk(tmp_path / "disk") as disk:
        spool = {"folder": disk / "spool", "min_free_bytes": 0}
        plant = Plant(tmp_path, served.url, image, autostart_recipe=1, spool=spool)

        async def scenario():
            async with plant.station() as station, connected(station.door.port) as client:
                await write(client)
                await until_outputs(client, Ready=True)
                cover(disk)
                lost = await until_outputs(client, Error=True)
                subprocess.run(["umount", "--lazy", str(disk)], check=True)
                await until(lambda: "can be used again" in caplog.text, "the disk is back")
                await clear_errors(client)
                return lost, await until_outputs(client, Ready=True)

        lost, back = asyncio.run(scenario())
    assert (lost["ErrorCode"], lost["Ready"]) == (ErrorCode.SPOOL_UNWRITABLE, False)
    assert (back["State"], back["ErrorCount"]) == (State.READY, 0)
