"""Vanishing clients, dying workers, and full disks, while other parts are inspected."""

import os
import pickle
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import psutil
import pytest

RESET = struct.pack("ii", 1, 0)


def post(live, content, **options):
    with live.client() as client:
        return client.post("/detect", content=content, **options)


def test_one_bad_image_in_16_fails_alone(live, image):
    contents = [image(seed=seed) for seed in range(16)]
    expected = [live.inspect(content)["raw_score"] for content in contents]
    contents[5] = contents[5][: len(contents[5]) // 2]
    files = [("file", (f"{seed}.png", content)) for seed, content in enumerate(contents)]
    with live.client() as client, ThreadPoolExecutor(2) as threads:
        # At the same time, a request for a category whose network answers NaN.
        ghosts = [threads.submit(post, live, image(), params={"category": "ghost"}) for _ in "ab"]
        response = client.post("/detect", data={"category": "bolt"}, files=files)
    assert response.json()["decision"] == "UNDECIDED"
    results = response.json()["results"]
    assert [result["decision"] for result in results].count("OK") == 15
    assert results[5]["decision"] == "UNDECIDED"
    for i in set(range(16)) - {5}:
        assert results[i]["raw_score"] == pytest.approx(expected[i], rel=1e-4)
    for ghost in ghosts:
        assert ghost.result().status_code == 500
        assert ghost.result().json()["type"].endswith(":non-finite-result")
        assert ghost.result().json()["decision"] == "UNDECIDED"


def test_what_comes_too_late_is_not_computed(live, image, problem):
    batches = live.metric("mambaad_batch_size_count")
    for timeout_ms in ("0.001", "1"):
        response = post(
            live, image(), params={"category": "bolt"}, headers={"X-Request-Timeout-Ms": timeout_ms}
        )
        assert problem(response, 504, "deadline-exceeded")["decision"] == "UNDECIDED"
    assert live.metric("mambaad_batch_size_count") == batches


def test_200_clients_that_vanish_take_their_images_along(live, image):
    content, worker = image(), live.worker
    head = b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    files = live.front.num_fds()
    cancelled = live.metric("mambaad_jobs_dropped_total", reason="cancelled")
    computed = live.metric("mambaad_batch_size_sum")
    worker.suspend()
    try:
        with live.memory_within(128):
            clients = [live.connect(head % len(content), content) for _ in range(200)]
            live.until(lambda: live.metric("mambaad_queue_depth") >= 200 - 32, "a full queue")
            staying = ThreadPoolExecutor(1)
            answer = staying.submit(live.inspect, content)
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            live.until(lambda: live.metric("mambaad_queue_depth") <= 1, "an empty queue")
    finally:
        worker.resume()
    assert answer.result()["decision"] == "OK"
    staying.shutdown()
    assert live.metric("mambaad_jobs_dropped_total", reason="cancelled") - cancelled >= 200 - 32
    assert live.metric("mambaad_batch_size_sum") - computed <= 2 * 16 + 1  # begun, or next
    live.until(lambda: live.front.num_fds() <= files + 2, "closed connections")
    assert live.metric("mambaad_requests_in_progress") <= 1


def test_a_worker_killed_under_load_costs_its_batch_alone(live, image):
    content, worker = image(), live.worker
    expected = live.inspect(content)["raw_score"]
    answers: list[httpx.Response] = []

    def keep_posting() -> None:
        with live.client() as client:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                answers.append(client.post("/detect?category=bolt", content=content))
                if live.is_replaced(worker) and answers[-1].status_code == 200:
                    return
                time.sleep(0.05 if answers[-1].status_code == 503 else 0)

    with ThreadPoolExecutor(6) as threads:
        posting = [threads.submit(keep_posting) for _ in range(6)]
        live.until(lambda: len(answers) > 6, "load")
        os.kill(worker.pid, signal.SIGKILL)
        for future in posting:
            future.result()
    good = [answer for answer in answers if answer.status_code == 200]
    assert all(
        answer.json()["results"][0]["raw_score"] == pytest.approx(expected, rel=1e-4)
        for answer in good
    )
    slugs = set()
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["decision"] == "UNDECIDED"
            slugs.add(answer.json()["type"].rpartition(":")[2])
    assert slugs <= {"worker-lost", "no-worker-ready"}
    assert answers[-1].status_code == 200


class Payload:
    """Code that would run if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "run"))


def spoil(directory: Path, content: bytes) -> None:
    """Replace the weights, and adapt the manifest's hash."""
    file, manifest = directory / "network.safetensors", directory / "manifest.json"
    before = sha256(file.read_bytes()).hexdigest()
    file.write_bytes(content)
    text = manifest.read_text("utf-8").replace(before, sha256(content).hexdigest())
    manifest.write_text(text, "utf-8")


def test_checkpoints_that_are_pickles_or_damaged_are_never_run(
    live, image, problem, save, live_store, tmp_path
):
    marker = tmp_path / "marker"
    weights = live_store / "parts" / "2" / "network.safetensors"
    spoils = {
        "pickle": pickle.dumps(Payload(marker)),
        "huge-header": struct.pack("<Q", 2**62) + b"{}",
        "cut": weights.read_bytes()[:-1000],
    }
    for name, content in spoils.items():
        spoil(save(live_store, name, {f"{name}-part": 1.0}), content)
    with live.client() as client, live.bystander(image()), live.memory_within(256):
        for name in spoils:
            body = problem(client.post(f"/models/{name}/1/load"), 409, "model-refused")
            assert str(live_store) not in body["detail"]
            assert client.post(f"/categories/{name}-part/warm").status_code in {404, 409, 503}
            answer = client.post(f"/detect?category={name}-part", content=image())
            assert answer.status_code in {404, 503}, answer.text
            assert answer.json()["decision"] == "UNDECIDED"
        problem(client.post("/models/rotten/1/load"), 409, "model-refused")
    assert not marker.exists()


def test_50_loads_and_unloads_at_once_disturb_nobody(live, image):
    """Afterwards memory is as before, and the service reports the last loaded version."""

    def turn(number: int) -> int:
        with live.client() as client:
            return client.post(f"/models/parts/1/{('load', 'unload')[number % 2]}").status_code

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(turn, range(20)))  # the allocator has now reserved its memory
        before = live.worker.memory_info().rss
        with live.bystander(image()) as seconds:
            statuses = list(threads.map(turn, range(50)))
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) >= 25
    assert len(seconds) >= 1
    assert turn(1) == 200
    with live.client() as client:
        models = {f"{m['name']}/{m['version']}": m for m in client.get("/models").json()["models"]}
    assert models["parts/1"]["state"] in {"unloaded", "available"}
    assert models["parts/2"]["state"] == "ready"
    assert live.worker.memory_info().rss - before < 32 * 2**20


def test_a_full_disk_costs_what_needs_the_disk_alone(live, image, problem):
    """No process may grow a file by a byte, yet parts are inspected."""
    large = image(640, 640, "BMP")  # forms keep such an upload in a file
    assert len(large) > 2**20
    change = {"threshold": 9.0, "who": "Ada", "reason": "new lamp"}
    live.inspect(image())  # shared memory is under the same limit, so it must grow before
    with live.client() as client:
        for process in live.tree:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, -1))
        try:
            assert live.inspect(image())["decision"] == "OK"
            assert live.inspect(large)["decision"] == "OK"
            refused = client.put("/categories/bolt/threshold", json=change)
            problem(refused, 503, "state-not-written")
            response = client.post("/detect", data={"category": "bolt"}, files={"file": large})
        finally:
            for process in live.tree:
                process.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
        assert client.get("/categories/bolt/threshold").json()["threshold"] == 10.0
        assert response.status_code == 200, response.text
        assert response.json()["decision"] == "OK"
