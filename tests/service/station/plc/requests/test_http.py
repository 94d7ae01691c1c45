"""The HTTP door on loopback, with a real client, at a real machine."""

import asyncio
import socket
import ssl
from functools import partial

import httpx
import pytest

from service.station.plc.door import DoorClosed
from service.station.plc.requests import connections, routes
from service.station.plc.requests.http import HttpDoor
from service.station.settings.requests import HttpDoorSettings
from tests.service.delivery.certificates import Authority
from tests.service.station.plc.line import opened

PROBLEM = "application/problem+json"


def making(folder, **settings):
    values = {"port": 0, "answers_folder": folder / "answers", **settings}
    return partial(HttpDoor, HttpDoorSettings(**values))


def client_of(line, **options):
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=line.door.address, timeout=20, limits=limits, **options)


def part(number):
    return {"trigger_number": number, "part_id": f"part {number}"}


async def raw(line, *pieces, reads=True):
    """Send bytes on a connection of its own; return the answer's bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", line.door.port)
    for piece in pieces:
        writer.write(piece)
    await writer.drain()
    try:
        return await reader.read() if reads else b""
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_a_trigger_is_answered_with_its_result_and_a_repeat_with_the_same(tmp_path):
    async def scenario():
        async with opened(making(tmp_path)) as line, client_of(line) as client:
            answers = [(await client.post("/trigger", json=part(n))).json() for n in (1, 2, 2)]
            return line.numbers, answers

    numbers, answers = asyncio.run(scenario())
    assert numbers == [1, 2]
    assert [(a["trigger_number"], a["part_id"]) for a in answers] == [
        *((1, "part 1"), (2, "part 2"), (2, "part 2"))
    ]
    assert [a["repeated"] for a in answers] == [False, False, True]
    assert {(a["verdict"], a["score"], a["fail_safe"]) for a in answers} == {("OK", 0.25, "NONE")}


def test_a_station_that_is_not_ready_answers_409_with_the_reason_and_misses_the_trigger(tmp_path):
    async def scenario():
        async with (
            opened(making(tmp_path), is_ready=False) as line, client_of(line) as client
        ):  # fmt: skip
            return await client.post("/trigger", json=part(1)), await client.get("/state")

    refused, state = asyncio.run(scenario())
    assert (refused.status_code, refused.headers["content-type"]) == (409, PROBLEM)
    problem = refused.json()
    assert problem["detail"] == "the station is in the state preoperational"
    assert problem["type"] == "urn:mambaad:problem:station-not-ready"
    assert problem["state"] == state.json()
    assert (state.json()["missed_trigger"], state.json()["error"]) == (True, "MISSED_TRIGGER")


def test_commands_are_given_by_name(tmp_path):
    async def scenario():
        async with (
            opened(making(tmp_path), is_ready=False) as line, client_of(line) as client
        ):  # fmt: skip
            answers = []
            for body in (
                {"command": "SelectModeAutomatic"},
                {"command": "PrepareRecipe", "recipe": 9},
                {"command": "AcknowledgeError"},
                {"command": "PrepareRecipe", "recipe": 1},
                {"command": "StartSingleJob", **part(5)},
                {"command": "Halt"},
                {"command": "StartSingleJob", **part(6)},
            ):
                answer = await client.post("/command", json=body)
                answers.append((answer.status_code, answer.json()))
            return answers

    mode, unknown, acknowledged, prepared, job, halted, refused = asyncio.run(scenario())
    assert (mode[0], mode[1]["state"]["state"]) == (200, "INITIALIZED")
    assert (unknown[0], unknown[1]["result"]) == (409, "FAILED")
    assert unknown[1]["detail"] == "it failed: UNKNOWN_RECIPE"
    assert (acknowledged[0], acknowledged[1]["state"]["errors"]) == (200, 0)
    assert (prepared[0], prepared[1]["state"]["ready"]) == (200, True)
    assert (job[0], job[1]["part_id"], job[1]["verdict"]) == (200, "part 5", "OK")
    assert (halted[0], halted[1]["state"]["state"]) == (200, "HALTED")
    assert (refused[0], refused[1]["detail"]) == (409, "the station is in the state halted")


def test_a_command_that_fails_says_its_own_error_beside_an_older_one(tmp_path):
    async def scenario():
        async with opened(making(tmp_path)) as line, client_of(line) as client:
            await client.post("/command", json={"command": "Halt"})
            missed = await client.post("/trigger", json=part(5))
            for command in ("Reset", "SelectModeAutomatic"):
                await client.post("/command", json={"command": command})
            prepare = {"command": "PrepareRecipe", "recipe": 9}
            return missed.json(), (await client.post("/command", json=prepare)).json()

    missed, unknown = asyncio.run(scenario())
    assert missed["state"]["error"] == unknown["state"]["error"] == "MISSED_TRIGGER"
    assert unknown["detail"] == "it failed: UNKNOWN_RECIPE"


def test_a_client_that_leaves_early_loses_nothing(tmp_path):
    async def scenario():
        async with opened(making(tmp_path)) as line, client_of(line) as client:
            line.decides.clear()
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/trigger", json=part(1), timeout=0.2)
            assert line.numbers == [1]
            line.decides.set()
            await line.until(lambda: line.door._desk.image.ready)
            repeat = await client.post("/trigger", json=part(1))
            following = await client.post("/trigger", json=part(2))
            return repeat.json(), following.json()

    repeat, following = asyncio.run(scenario())
    assert (repeat["trigger_number"], repeat["verdict"], repeat["repeated"]) == (1, "OK", True)
    assert (following["trigger_number"], following["repeated"]) == (2, False)


def test_of_a_hundred_triggers_at_once_one_is_taken_and_all_others_are_refused(tmp_path):
    async def scenario():
        making_door = making(tmp_path, max_clients=200)
        async with opened(making_door) as line, client_of(line) as client:
            line.decides.clear()
            posts = [
                asyncio.create_task(client.post("/trigger", json=part(n))) for n in range(1, 101)
            ]
            await line.until(lambda: sum(post.done() for post in posts) == 99)
            line.decides.set()
            return line.numbers, [await post for post in posts]

    numbers, answers = asyncio.run(scenario())
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 99
    (taken,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert [taken["trigger_number"]] == numbers
    assert taken["part_id"] == f"part {numbers[0]}"


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/trigger", b"", 422),
        ("/trigger", b"\x00\xff" * 100, 422),
        ("/trigger", b'{"trigger_number": "1"}', 422),
        ("/trigger", b"x" * 20_000, 413),
        ("/command", b'{"command": "Explode"}', 422),
        ("/command", b"[]", 422),
        ("/state", b"{}", 405),
        ("/other", b"{}", 404),
    ],
)
def test_rubbish_is_answered_with_a_problem(tmp_path, path, content, status):
    async def scenario():
        async with opened(making(tmp_path)) as line, client_of(line) as client:
            return line.numbers, await client.post(path, content=content)

    numbers, answer = asyncio.run(scenario())
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["detail"]
    assert numbers == []


def test_a_page_in_a_browser_cannot_trigger_or_command(tmp_path):
    async def scenario():
        async with opened(making(tmp_path)) as line, client_of(line) as client:
            client.headers["origin"] = "https://elsewhere.example"
            answers = [
                await client.post("/trigger", json=part(1)),
                await client.post("/command", json={"command": "Halt"}),
            ]
            return line.numbers, answers

    numbers, answers = asyncio.run(scenario())
    assert (numbers, [answer.status_code for answer in answers]) == ([], [403, 403])


def test_bytes_that_are_no_http_and_endless_headers_are_refused(tmp_path):
    async def scenario():
        async with opened(making(tmp_path)) as line:
            rubbish = await raw(line, b"\x16\x03\x01\x00 nothing\r\n\r\n")
            endless = await raw(line, b"GET /state HTTP/1.1\r\n", b"a: b\r\n" * 10_000)
            return rubbish, endless

    for answer in asyncio.run(scenario()):
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_slow_and_silent_clients_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "SILENT_S", 0.1)
    monkeypatch.setattr(connections, "LINGER_S", 0.1)
    monkeypatch.setattr(routes, "_BODY_S", 0.1)
    head = b"POST /trigger HTTP/1.1\r\nhost: a\r\ncontent-length: 90\r\n\r\n"

    async def scenario():
        async with opened(making(tmp_path)) as line:
            return await raw(line), await raw(line, b"POST /tri"), await raw(line, head, b'{"tr')

    silent, half, slow = asyncio.run(scenario())
    assert (silent, half) == (b"", b"")
    assert slow.startswith(b"HTTP/1.1 408")


def test_idle_connections_do_not_lock_out_the_next_client(tmp_path):
    async def scenario():
        async with opened(making(tmp_path, max_clients=10)) as line:
            held = [await asyncio.open_connection("127.0.0.1", line.door.port) for _ in range(100)]
            async with client_of(line) as client:
                answer = await client.post("/trigger", json=part(1))
            clients = line.door.clients
            for _, writer in held:
                writer.close()
            return answer, clients

    answer, clients = asyncio.run(scenario())
    assert answer.json()["verdict"] == "OK"
    assert clients <= 11


def test_a_client_of_another_network_is_cut_off(tmp_path):
    async def scenario():
        async with (
            opened(making(tmp_path, allow=["10.0.0.0/8"])) as line, client_of(line) as client
        ):  # fmt: skip
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await client.post("/trigger", json=part(1))
            return line.numbers

    assert asyncio.run(scenario()) == []


def test_every_route_needs_the_token(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("s3cret\n")

    async def scenario():
        async with (
            opened(making(tmp_path, token_file=token_file)) as line, client_of(line) as client
        ):  # fmt: skip
            refused = [
                await client.get("/state"),
                await client.post("/trigger", json=part(1)),
                await client.post("/command", json={"command": "Halt"}),
                await client.get("/state", headers={"authorization": "Bearer s3cre"}),
            ]
            assert line.numbers == []
            client.headers["authorization"] = "Bearer s3cret"
            return refused, await client.post("/trigger", json=part(1))

    refused, taken = asyncio.run(scenario())
    assert [answer.status_code for answer in refused] == [401] * 4
    assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}
    assert taken.json()["verdict"] == "OK"


def test_with_a_certificate_the_door_speaks_tls(tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.sign("station")
    settings = {"certificate_file": certificate, "key_file": key}

    async def scenario():
        async with opened(making(tmp_path, **settings)) as line:
            assert line.door.address.startswith("https://")
            context = ssl.create_default_context(cafile=authority.file)
            async with client_of(line, verify=context) as client:
                taken = await client.post("/trigger", json=part(1))
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                async with client_of(line) as client:
                    await client.post("/trigger", json=part(2))
            return taken.json()["verdict"], line.numbers

    assert asyncio.run(scenario()) == ("OK", [1])


def test_a_client_that_waits_is_told_that_the_station_stops(tmp_path):
    async def scenario():
        async with client_of_later() as client, opened(making(tmp_path)) as line:
            line.decides.clear()
            post = asyncio.create_task(client.post(f"{line.door.address}/trigger", json=part(1)))
            await line.until(lambda: line.numbers)
            await line.door.close()
            line.door.close = nothing
            return await post

    answer = asyncio.run(scenario())
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert answer.json()["detail"] == "the station stops"


def client_of_later():
    return httpx.AsyncClient(timeout=20)


async def nothing():
    pass


def test_the_check_listens_for_a_moment_and_names_what_is_wrong(tmp_path):
    token_file = tmp_path / "token"

    async def scenario():
        door = making(tmp_path, token_file=token_file)(lambda image: None)
        with pytest.raises(DoorClosed, match="token cannot be read"):
            await door.check()
        token_file.write_text("two words")
        with pytest.raises(DoorClosed, match="no token's"):
            await door.check()
        token_file.write_text("s3cret")
        assert await door.check() == "can listen; 127.0.0.0/8 may connect, with a token"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            door = making(tmp_path, port=taken.getsockname()[1])(lambda image: None)
            with pytest.raises(DoorClosed, match="cannot listen on"):
                await door.check()
        broken = {"certificate_file": token_file, "key_file": token_file}
        with pytest.raises(DoorClosed, match="certificate in"):
            await making(tmp_path, **broken)(lambda image: None).check()

    asyncio.run(scenario())
    assert not (tmp_path / "answers").exists()
