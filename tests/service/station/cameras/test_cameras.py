"""Real files and a real HTTP server: images that are new and complete, or a reason."""

import asyncio
import threading
import time
import tracemalloc
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.station.cameras import folder_changes
from service.station.cameras.camera import CameraSilent, Shot
from service.station.cameras.opening import open_camera
from service.station.settings import CameraSettings


def folder_camera(path, **settings):
    return open_camera("top", CameraSettings.model_validate({"folder": {"path": path, **settings}}))


def shots(camera, write, *, parts=1):
    """Take one image for each part; `write` is called after the camera was armed."""

    async def scenario():
        frames = []
        for part in range(parts):
            take = await camera.arm(Shot(part, f"cell-[{part}]"))
            taking = asyncio.ensure_future(take())
            await asyncio.to_thread(write, part)
            frames.append((await taking).content)
        await camera.close()
        return frames

    return asyncio.run(scenario())


def test_a_new_file_is_taken_and_an_older_one_is_not(tmp_path):
    (tmp_path / "stale.png").write_bytes(b"stale")
    camera = folder_camera(tmp_path, timeout_ms=20_000)
    taken = shots(
        camera, lambda part: (tmp_path / f"{part}.png").write_bytes(b"%d" % part), parts=3
    )
    assert taken == [b"0", b"1", b"2"]


def test_names_of_former_parts_are_forgotten(tmp_path):
    (tmp_path / "stale.png").write_bytes(b"stale")
    camera = folder_camera(tmp_path, pattern="{part_id}-*.png")

    async def arm(parts):
        for part in parts:
            await camera.arm(Shot(part, f"cell-{part}"))

    tracemalloc.start()
    asyncio.run(arm(range(600)))  # `re` keeps some patterns
    before, _ = tracemalloc.get_traced_memory()
    asyncio.run(arm(range(600, 2600)))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000


def test_a_file_that_is_replaced_under_its_name_is_new(tmp_path):
    path = tmp_path / "shot.png"
    path.write_bytes(b"stale")

    def replace(part):
        half = tmp_path / ".half"
        half.write_bytes(b"new %d" % part)
        half.replace(path)

    camera = folder_camera(tmp_path, timeout_ms=20_000, renamed_into_place=True)
    assert shots(camera, replace, parts=2) == [b"new 0", b"new 1"]


def test_a_file_that_grows_is_taken_when_it_is_complete(tmp_path):
    path = tmp_path / "shot.png"
    pause = threading.Event()

    def grow(part):
        with path.open("wb", buffering=0) as file:
            for _ in range(20):
                file.write(b"x" * 100)
                pause.wait(0.01)

    camera = folder_camera(tmp_path, timeout_ms=20_000, stable_ms=1_000)
    (content,) = shots(camera, grow)
    assert len(content) == 2_000


def test_files_of_other_names_and_hidden_ones_do_not_count(tmp_path):
    def write(part):
        (tmp_path / "shot.txt").write_bytes(b"text")
        (tmp_path / ".shot.png").write_bytes(b"half")
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "empty.png").touch()

    camera = folder_camera(tmp_path, pattern="*.png", timeout_ms=300)
    with pytest.raises(CameraSilent, match=r"no new image in .* within 300 ms"):
        shots(camera, write)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*-{trigger_number}.png", "shot-{}.png"), ("{part_id}.*", "cell-[{}].png")],
)
def test_a_file_named_after_another_part_does_not_count(tmp_path, pattern, name):
    """The image of a part that came too late must not pass for that of the next."""

    def write(part):
        (tmp_path / name.format(part - 1)).write_bytes(b"late %d" % part)
        (tmp_path / name.format(part)).write_bytes(b"%d" % part)

    camera = folder_camera(tmp_path, pattern=pattern, timeout_ms=20_000)
    assert shots(camera, write, parts=3) == [b"0", b"1", b"2"]


def test_a_folder_that_is_gone_is_a_silent_camera(tmp_path):
    with pytest.raises(CameraSilent, match="cannot be read: No such file"):
        shots(folder_camera(tmp_path / "gone"), print)


def test_a_file_is_heard_of_by_an_event(tmp_path, monkeypatch):
    """Nobody looks for files within the camera's time, but for the event."""
    monkeypatch.setattr(folder_changes, "_SAFETY_S", 3_600)
    camera = folder_camera(tmp_path, timeout_ms=20_000, renamed_into_place=True, poll=False)

    def rename(part):
        time.sleep(0.2)
        (tmp_path / ".half").write_bytes(b"%d" % part)
        (tmp_path / ".half").replace(tmp_path / f"{part}.png")

    assert shots(camera, rename, parts=3) == [b"0", b"1", b"2"]


def test_a_folder_without_events_is_polled(tmp_path, monkeypatch):
    monkeypatch.delattr(folder_changes, "awatch")
    camera = folder_camera(tmp_path, timeout_ms=20_000, poll=True)
    taken = shots(
        camera, lambda part: (tmp_path / f"{part}.png").write_bytes(b"%d" % part), parts=2
    )
    assert taken == [b"0", b"1"]


@pytest.mark.parametrize(
    ("folder", "is_polled"),
    [("drive/shots", True), ("drive", True), ("a disk/shots", False), ("elsewhere", False)],
)
def test_network_drives_are_polled(tmp_path, folder, is_polled):
    mounts = tmp_path / "mounts"
    disk = str(tmp_path / "a disk").replace(" ", "\\040")
    mounts.write_text(
        f"rootfs / ext4 rw 0 0\n//server/shots {tmp_path}/drive cifs rw 0 0\n"
        f"/dev/sda1 {disk} ext4 rw 0 0\n"
    )
    (tmp_path / folder).mkdir(parents=True)
    assert folder_changes.is_on_network(tmp_path / folder, mounts) is is_polled


def test_whether_a_camera_is_up(tmp_path):
    async def scenario():
        folder = folder_camera(tmp_path, timeout_ms=20)
        gone = folder_camera(tmp_path / "gone")
        with answering(lambda handler: send(handler, 200, b"x")) as url:
            snapshot = snapshot_camera(url)
            for camera in (folder, gone, snapshot):
                await camera.open()
                assert camera.is_up is None
            await (await snapshot.arm(Shot(1, "")))()
            assert snapshot.is_up is True
        for camera in (folder, gone, snapshot):
            with pytest.raises(CameraSilent):
                await (await camera.arm(Shot(1, "")))()
            await camera.close()
        return folder.is_up, gone.is_up, snapshot.is_up

    assert asyncio.run(scenario()) == (None, False, False)


def test_a_part_that_still_waits_gets_no_image_of_the_next(tmp_path):
    async def scenario():
        camera = folder_camera(tmp_path, timeout_ms=20_000, renamed_into_place=True)
        earlier = asyncio.ensure_future((await camera.arm(Shot(1, "")))())
        await asyncio.sleep(0)
        later = await camera.arm(Shot(2, ""))
        (tmp_path / "shot.png").write_bytes(b"second")
        with pytest.raises(CameraSilent, match="no image before the next trigger"):
            await earlier
        return (await later()).content

    assert asyncio.run(scenario()) == b"second"


@contextmanager
def answering(answer):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/shot"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def snapshot_camera(url, **settings):
    return open_camera(
        "side", CameraSettings.model_validate({"snapshot": {"url": url, **settings}})
    )


def send(handler, status, content):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def test_a_snapshot_is_asked_for_each_part():
    count = iter(range(10))
    with answering(lambda handler: send(handler, 200, b"%d" % next(count))) as url:
        taken = shots(snapshot_camera(url, timeout_ms=20_000), lambda part: None, parts=3)
    assert taken == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("status", "settings", "message"),
    [(503, {}, "answered 503"), (200, {"max_bytes": 10}, "over 10 bytes")],
)
def test_an_answer_that_is_no_image_is_a_silent_camera(status, settings, message):
    with (
        answering(lambda handler: send(handler, status, b"x" * 100)) as url,
        pytest.raises(CameraSilent, match=message),
    ):
        shots(snapshot_camera(url, timeout_ms=20_000, **settings), lambda part: None)


def test_a_camera_that_does_not_answer_is_silent():
    done = threading.Event()
    with answering(lambda handler: done.wait(20)) as url:
        with pytest.raises(CameraSilent, match="no image from"):
            shots(snapshot_camera(url, timeout_ms=200), lambda part: None)
        done.set()


def test_a_camera_that_nobody_runs_is_silent():
    with answering(lambda handler: None) as url:
        pass
    with pytest.raises(CameraSilent, match="no image from"):
        shots(snapshot_camera(url), lambda part: None)
