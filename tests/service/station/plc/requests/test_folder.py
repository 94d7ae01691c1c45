"""The folder door in a real folder, at a real machine."""

import asyncio
import json
import os
import time
from functools import partial

import pytest

from service.station.machine.images import ResultFields
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.door import DoorClosed
from service.station.plc.requests import folder as door_module
from service.station.plc.requests import trigger_files as files_module
from service.station.plc.requests.folder import FolderDoor
from service.station.plc.requests.trigger_files import TriggerFiles
from service.station.settings.requests import FolderDoorSettings
from tests.service.station.plc.line import opened

LOST = ResultFields(
    Verdict.UNDECIDED, FailSafe.NG, Reason.STATION_RESTARTED, trigger_number=1, part_id="part 1"
)


@pytest.fixture
def share(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


def settings_of(share, **settings):
    values = {"path": share, "answers_folder": share.parent / "answers", "poll_ms": 5}
    return FolderDoorSettings(**{**values, "stable_ms": 50, **settings})


def making(share, **settings):
    return partial(FolderDoor, settings_of(share, **settings))


def part(number, **values):
    return json.dumps({"trigger_number": number, "part_id": f"part {number}", **values})


def read(path):
    return json.loads(path.read_text())


async def answer(line, share, name):
    """Return the file that appears, and whether it is a result."""
    result, refused = share / "results" / f"{name}.json", share / "refused" / f"{name}.json"
    await line.until(lambda: result.exists() or refused.exists())
    return (read(result), True) if result.exists() else (read(refused), False)


def test_files_are_taken_one_after_another_and_get_their_results(share):
    async def scenario():
        async with opened(making(share)) as line:
            answers = []
            for number, name, content in (
                (1, "1-cell-1.trigger", ""),
                (2, "2.trigger", "anything"),
                (3, "third.json", part(3)),
            ):
                await line.until(lambda: line.door._desk.image.ready)
                (share / name).write_text(content)
                found, is_result = await answer(line, share, name.rpartition(".")[0])
                assert is_result
                assert found["trigger_number"] == number
                answers.append((found["part_id"], found["verdict"], found["score"]))
            await line.until(lambda: not list((share / "taken").iterdir()))
            assert line.door.clients == 1
            return answers

    assert asyncio.run(scenario()) == [
        *(("cell-1", "OK", 0.25), ("", "OK", 0.25), ("part 3", "OK", 0.25))
    ]
    names = ["refused", "results", "station.state", "taken"]
    assert sorted(path.name for path in share.iterdir()) == names
    assert not read(share / "station.state")["online"]


def test_a_file_that_is_written_slowly_counts_when_it_is_complete(share):
    async def scenario():
        async with opened(making(share, stable_ms=20_000)) as line:
            content = part(1)
            with (share / "slow.json").open("w") as file:
                for character in content[:-1]:
                    file.write(character)
                    file.flush()
                    await asyncio.sleep(0.002)
                assert line.numbers == []
                file.write(content[-1])
            return await answer(line, share, "slow"), line.numbers

    (found, is_result), numbers = asyncio.run(scenario())
    assert (is_result, found["part_id"], numbers) == (True, "part 1", [1])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("empty.json", b"", "expected a JSON object"),
        ("half.json", b'{"trigger_number": 1', "expected a JSON object"),
        ("list.json", b"[1]", "expected a JSON object"),
        ("bytes.json", b"\xff\x00" * 50, "expected a JSON object"),
        ("long.json", b"x" * 20_000, "expected at most 16384 bytes"),
        ("keys.json", b'{"number": 1}', "trigger_number: Field required"),
        ("name.trigger", b"", "expected a name such as"),
        ("99999999999-x.trigger", b"", "expected a name such as"),
        ("5000000000.trigger", b"", "trigger_number: Input should be less"),
        (f"1-{'x' * 140}.trigger", b"", "part_id: String should have at most"),
    ],
)
def test_rubbish_is_refused_with_the_reason(share, name, content, fault):
    async def scenario():
        async with opened(making(share)) as line:
            (share / name).write_bytes(content)
            found, is_result = await answer(line, share, name.rpartition(".")[0])
            await line.until(lambda: not list((share / "taken").iterdir()))
            return found, is_result, line.numbers

    found, is_result, numbers = asyncio.run(scenario())
    assert (is_result, numbers) == (False, [])
    assert found["error"] == "invalid"
    assert fault in found["detail"]
    assert not (share / name).exists()


def test_a_name_that_is_no_text_is_refused(share):
    async def scenario():
        async with opened(making(share)) as line:
            name = b"1-\xff.trigger"
            (share / os.fsdecode(name)).touch()
            return await answer(line, share, os.fsdecode(b"1-\xff")), line.numbers

    (found, is_result), numbers = asyncio.run(scenario())
    assert (found["error"], is_result, numbers) == ("invalid", False, [])


def test_folders_links_and_pipes_are_refused_once_and_left_where_they_are(share):
    (share.parent / "real.json").write_text(part(1))

    async def scenario():
        async with opened(making(share)) as line:
            (share / "folder.json").mkdir()
            (share / "link.json").symlink_to(share.parent / "real.json")
            os.mkfifo(share / "1-pipe.trigger")
            for name in (".hidden.json", "note.txt", "new.json.tmp"):
                (share / name).write_text(part(1))
            await line.until(lambda: line.door._desk.image.ready)
            (share / "2.trigger").touch()
            await answer(line, share, "2")
            for name in ("folder", "link", "1-pipe"):
                refusal, is_result = await answer(line, share, name)
                assert (refusal["error"], is_result) == ("invalid", False)
                assert "expected a file" in refusal["detail"]
                (share / "refused" / f"{name}.json").unlink()
            await line.until(lambda: line.door._desk.image.ready)
            (share / "3.trigger").touch()
            await answer(line, share, "3")
            return line.numbers

    assert asyncio.run(scenario()) == [2, 3]
    assert list((share / "refused").iterdir()) == []
    assert len(list(share.iterdir())) == 6 + 4


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(share, monkeypatch):
    def refuses(path, most_bytes):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files_module, "read_regular", refuses)

    async def scenario():
        async with opened(making(share)) as line:
            (share / "secret.json").write_text(part(1))
            return *await answer(line, share, "secret"), line.numbers

    refusal, is_result, numbers = asyncio.run(scenario())
    assert (is_result, numbers) == (False, [])
    assert refusal["detail"] == "the file cannot be read: Permission denied"


def test_a_station_that_is_not_ready_refuses_and_misses_the_trigger(share):
    async def scenario():
        async with opened(making(share), is_ready=False) as line:
            (share / "1.trigger").touch()
            found, is_result = await answer(line, share, "1")
            await line.until(lambda: read(share / "station.state")["missed_trigger"])
            return found, is_result

    found, is_result = asyncio.run(scenario())
    assert (is_result, found["error"], found["verdict"]) == (False, "not-ready", "NONE")
    assert found["detail"] == "the station is in the state preoperational"
    assert found["trigger_number"] == 1


def test_of_a_hundred_files_at_once_one_is_taken_and_all_others_are_refused(share):
    async def scenario():
        async with opened(making(share)) as line:
            line.decides.clear()
            for number in range(1, 101):
                (share / f"{number}-part {number}.trigger").touch()
            await line.until(lambda: len(list((share / "refused").glob("*.json"))) == 99)
            line.decides.set()
            await line.until(lambda: list((share / "results").glob("*.json")))
            return line.numbers

    (taken,) = asyncio.run(scenario())
    (result,) = (share / "results").glob("*.json")
    assert (result.stem, read(result)["part_id"]) == (f"{taken}-part {taken}", f"part {taken}")
    refused = {read(path)["trigger_number"] for path in (share / "refused").glob("*.json")}
    assert refused == {*range(1, 101)} - {taken}


def test_the_same_part_again_gets_the_same_result(share):
    async def scenario():
        async with opened(making(share)) as line:
            (share / "a.json").write_text(part(1))
            first, _ = await answer(line, share, "a")
            (share / "b.json").write_text(part(1))
            again, _ = await answer(line, share, "b")
            (share / "c.json").write_text(part(1, request_id="new"))
            refused, is_result = await answer(line, share, "c")
            assert not is_result
            return first, again, refused, line.numbers

    first, again, refused, numbers = asyncio.run(scenario())
    assert numbers == [1]
    assert again == {**first, "repeated": True}
    assert refused["error"] == "other-request"


def test_an_old_result_of_the_same_name_is_gone_before_the_trigger_is_claimed(share):
    async def scenario():
        async with opened(making(share)) as line:
            (share / "next.json").write_text(part(1))
            first, _ = await answer(line, share, "next")
            line.decides.clear()
            await line.until(lambda: line.door._desk.image.ready)
            (share / "next.json").write_text(part(2))
            await line.until(lambda: line.numbers == [1, 2])
            assert not (share / "results" / "next.json").exists()
            line.decides.set()
            second, _ = await answer(line, share, "next")
            return first["part_id"], second["part_id"]

    assert asyncio.run(scenario()) == ("part 1", "part 2")


def test_files_from_before_the_start_are_refused(share):
    (share / "1.trigger").touch()
    (share / "half.json").write_text('{"trigger_number": 2')

    async def scenario():
        async with opened(making(share, stable_ms=20_000)) as line:
            found, is_result = await answer(line, share, "1")
            assert not is_result
            (share / "half.json").write_text(part(2))
            half, is_result = await answer(line, share, "half")
            assert not is_result
            return found["detail"], half["detail"], line.numbers

    older = "the file is older than the station's start"
    assert asyncio.run(scenario()) == (older, older, [])


def test_a_part_in_work_at_the_end_of_the_station_is_told_after_its_restart(share):
    async def scenario():
        async with opened(making(share)) as line:
            line.decides.clear()
            (share / "first.json").write_text(part(1))
            await line.until(lambda: line.numbers)
        assert [path.name.partition("~")[2] for path in (share / "taken").iterdir()] == [
            "first.json"
        ]
        async with opened(making(share), restored=[(1, LOST)], is_ready=False) as line:
            found = await answer(line, share, "first")
            await line.until(lambda: not list((share / "taken").iterdir()))
            return found, line.numbers

    (found, is_result), numbers = asyncio.run(scenario())
    assert (is_result, found["verdict"], found["reason"]) == (
        True, "UNDECIDED", "STATION_RESTARTED"
    )  # fmt: skip
    assert numbers == []
    assert not list((share / "refused").iterdir())


def test_a_file_that_was_claimed_but_not_taken_is_refused_after_the_restart(share):
    async def scenario():
        files = TriggerFiles(settings_of(share))
        files.open()
        (share / "1-x.trigger").touch()
        (share / "half.json").write_text("{")
        assert [file.name for file in files.claim_all()] == ["1-x.trigger"]
        (share / "half.json").rename(share / "taken" / "0~half.json")
        async with opened(making(share)) as line:
            one = await answer(line, share, "1-x")
            half = await answer(line, share, "half")
            await line.until(lambda: not list((share / "taken").iterdir()))
            assert line.numbers == []
            return one, half

    (one, is_result), (half, half_is_result) = asyncio.run(scenario())
    assert not is_result
    assert not half_is_result
    assert (one["error"], one["trigger_number"]) == ("not-taken", 1)
    assert half["error"] == "not-taken"


def test_a_result_that_was_written_but_not_noted_is_the_same_after_the_restart(share):
    async def scenario():
        async with opened(making(share)) as line:
            (share / "first.json").write_text(part(1))
            first, _ = await answer(line, share, "first")
        (share / "taken" / "0~first.json").write_text(part(1))
        async with opened(making(share)) as line:
            await line.until(lambda: not list((share / "taken").iterdir()))
            return first, read(share / "results" / "first.json"), line.numbers

    first, again, numbers = asyncio.run(scenario())
    assert (again, numbers) == (first, [])
    assert not list((share / "refused").iterdir())


def test_a_folder_that_goes_away_gets_its_result_when_it_is_back(share, monkeypatch, caplog):
    monkeypatch.setattr(door_module, "_AWAY_PAUSE_S", 0.02)

    async def scenario():
        async with opened(making(share)) as line:
            line.decides.clear()
            (share / "first.json").write_text(part(1))
            await line.until(lambda: line.numbers)
            share.rename(share.parent / "unplugged")
            await line.until(lambda: line.door.clients == 0)
            line.decides.set()
            await line.until(lambda: line.door._undelivered)
            (share.parent / "unplugged").rename(share)
            found, is_result = await answer(line, share, "first")
            await line.until(lambda: line.door.clients)
            await line.until(lambda: not line.door._desk.undelivered())
            return found["verdict"], is_result

    assert asyncio.run(scenario()) == ("OK", True)
    assert not list((share / "taken").iterdir())


def test_old_results_are_deleted_by_number_and_by_age(share):
    files = TriggerFiles(settings_of(share, max_results=10, results_s=60))
    files.open()
    for number in range(15):
        files.write("results", f"{number}.json", b"{}")
        os.utime(share / "results" / f"{number}.json", (time.time() - 30 + number,) * 2)
    files.write("refused", "old.json", b"{}")
    files.write("refused", "new.json", b"{}")
    os.utime(share / "refused" / "old.json", (time.time() - 61,) * 2)
    files.prune()
    names = {path.stem for path in (share / "results").iterdir()}
    assert names == {str(number) for number in range(5, 15)}
    assert [path.stem for path in (share / "refused").iterdir()] == ["new"]


def test_the_check_looks_and_changes_nothing(share, tmp_path):
    (share / "1.trigger").touch()

    async def scenario():
        told = await making(share)(lambda image: None).check()
        for check in ("check", "open"):
            with pytest.raises(DoorClosed, match="is not a folder that can be read and written"):
                await getattr(making(tmp_path / "nowhere")(lambda image: None), check)()
        return told

    assert "1 triggers wait, which a start refuses" in asyncio.run(scenario())
    assert [path.name for path in share.iterdir()] == ["1.trigger"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["share"]


def test_commands_are_given_by_files(share):
    async def scenario():
        async with opened(making(share), is_ready=False) as line:
            answers = []
            for number, values in enumerate(
                (
                    {"command": "SelectModeAutomatic"},
                    {"command": "PrepareRecipe", "recipe": 1},
                    {"command": "StartSingleJob", "trigger_number": 5, "part_id": "five"},
                    {"command": "Explode"},
                )
            ):
                (share / f"c{number}.json").write_text(json.dumps(values))
                answers.append(await answer(line, share, f"c{number}"))
            return answers

    mode, prepared, job, unknown = asyncio.run(scenario())
    assert (mode[0]["result"], mode[1]) == ("DONE", True)
    assert (prepared[0]["state"]["ready"], prepared[1]) == (True, True)
    assert (job[0]["part_id"], job[0]["verdict"], job[1]) == ("five", "OK", True)
    assert (unknown[0]["error"], unknown[1]) == ("invalid", False)
