"""Versions, routes and thresholds over HTTP, on real workers with tiny networks.

parts/1 decides OK for every bolt, parts/2 NG. In parts/3 a byte is flipped; parts/5 does not score
its golden images as its manifest says.
"""

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.runtimes.torch import open_checkpoint
from model.training.golden import record_golden, save_with_golden
from service.access.keys import add_key
from service.app import create_app
from service.http.declaration import Scope
from service.settings import AccessSettings, Settings, VersionSettings, WorkerSettings
from service.versions.assignment import Assignment
from service.versions.registry import Registry
from service.versions.state import Deployment, State

ADA = {"who": "Ada", "reason": "new lamp"}
ONE, TWO = {"name": "parts", "version": "1"}, {"name": "parts", "version": "2"}
ROUTE, THRESHOLD = "/categories/bolt/route", "/categories/bolt/threshold"


def save_with_golden_images(root, gone_by):
    """Save parts/2 again, with wrong scores for its golden images in the manifest."""
    store = CheckpointStore(root)
    checkpoint = store.load("parts", "2")
    detector = open_checkpoint(checkpoint)
    saved = save_with_golden(store, checkpoint, record_golden(detector, [], {}))
    path = store.find("parts", saved.version) / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = manifest["golden"]["synthetic"]
    entry["raw_scores"] = [score * (1 + gone_by) for score in entry["raw_scores"]]
    path.write_text(json.dumps(manifest))


def save_unfinished(save, root, name, thresholds):
    path = save(root, name, thresholds) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["training"] = {"finished": False, "epochs_done": 3, "recipe": {"epochs": 100}}
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def site(tmp_path_factory, save, start_server, eventually):
    """A service with three versions; the first one is the route."""
    folder = tmp_path_factory.mktemp("site")
    for threshold in (10.0, -10.0, 10.0):
        damaged = save(folder / "weights", "parts", {"bolt": threshold})
    save(folder / "weights", "nuts", {"nut": 10.0})
    save_unfinished(save, folder / "weights", "nuts", {"nut": 10.0})
    save(folder / "weights", "rival", {"nut": 10.0})
    content = bytearray((damaged / "network.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "network.safetensors").write_bytes(content)
    save_with_golden_images(folder / "weights", gone_by=0.0)
    save_with_golden_images(folder / "weights", gone_by=0.1)
    state = State().with_route("bolt", Assignment(stable=CheckpointKey("parts", "1")))
    (folder / "state").mkdir()
    (folder / "state" / "deployment.json").write_text(state.model_dump_json())
    settings = Settings(
        versions=VersionSettings(weights_dir=folder / "weights", state_dir=folder / "state"),
        workers=WorkerSettings(
            threads_per_worker=1, stop_grace_s=2, max_batch_size=4, max_queue_size=64
        ),
    )
    with start_server(settings) as server, server.client() as client:
        eventually(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield server


@pytest.fixture
def client(site):
    """A client; afterwards parts/1 alone is the route again."""
    with site.client() as client:
        yield client
        assert client.post(ROUTE, json={"stable": ONE, "keep_previous": True}).status_code == 200


@pytest.fixture
def inspect(client, image):
    def post(category="bolt", **headers):
        response = client.post(f"/detect?category={category}", content=image(), headers=headers)
        assert response.status_code == 200, response.text
        return response.json()["results"][0]

    return post


def models(client):
    listed = client.get("/models").json()["models"]
    return {f"{model['name']}/{model['version']}": model for model in listed}


def test_models_lists_what_there_is_and_what_it_does(client):
    listed = models(client)
    parts = [f"parts/{number}" for number in range(1, 6)]
    assert list(listed) == ["nuts/1", "nuts/2", *parts, "rival/1"]
    first = listed["parts/1"]
    assert (first["state"], first["reason"], first["categories"]) == ("ready", None, ["bolt"])
    assert first["serves"] == [{"category": "bolt", "role": "stable", "share": None}]
    (resident,) = first["workers"]
    assert resident["worker"] == "cpu"
    assert resident["bytes"] > 0
    assert resident["load_seconds"] > 0
    assert resident["latency"]["image_ms"] >= 0
    assert resident["last_used_s"] >= 0
    assert (listed["parts/3"]["serves"], listed["parts/3"]["workers"]) == ([], [])


def test_a_route_switches_and_switches_back(client, inspect):
    assert inspect()["decision"] == "OK"
    switched = client.post(ROUTE, json={"stable": TWO, **ADA})
    assert switched.json() == {"category": "bolt", "stable": TWO, "canary": None, "shadow": None}
    answer = inspect()
    assert (answer["decision"], answer["model"]) == ("NG", TWO)
    listed = models(client)
    assert (listed["parts/1"]["state"], listed["parts/2"]["state"]) == ("draining", "ready")
    assert client.post(ROUTE, json={"stable": ONE, "keep_previous": True}).status_code == 200
    assert (inspect()["decision"], models(client)["parts/1"]["state"]) == ("OK", "ready")
    assert client.get(ROUTE).json()["stable"] == ONE


def test_a_damaged_version_is_refused_and_nothing_changes(client, inspect, problem, site):
    three = {"name": "parts", "version": "3"}
    before = (site.settings.versions.state_dir / "deployment.json").read_bytes()
    body = problem(client.post(ROUTE, json={"stable": three}), 409, "model-refused")
    assert "weights/parts/3/network.safetensors is not the file that was saved" in body["detail"]
    assert str(site.settings.versions.weights_dir) not in body["detail"]
    damaged = models(client)["parts/3"]
    assert (damaged["state"], damaged["serves"]) == ("failed", [])
    assert "not the file that was saved" in damaged["reason"]
    assert (site.settings.versions.state_dir / "deployment.json").read_bytes() == before
    assert inspect()["model"] == ONE
    problem(client.post("/models/parts/3/load"), 409, "model-refused")
    assert client.get("/readyz").json()["ready"]


def test_a_device_that_scores_otherwise_is_found_by_golden_images(client, inspect, problem):
    good = client.post("/models/parts/4/load").json()
    assert good["golden_images"] == 4
    assert 0 <= good["workers"][0]["golden_difference"] < 0.01
    assert good["workers"][0]["engine"] == "torch, float32"
    bad = client.post(ROUTE, json={"stable": {"name": "parts", "version": "5"}})
    body = problem(bad, 409, "model-refused")
    assert "golden images of 'synthetic' differ from the saved ones" in body["detail"]
    assert models(client)["parts/5"]["state"] == "failed"
    assert models(client)["parts/1"]["workers"][0]["golden_difference"] is None
    assert inspect()["model"] == ONE
    assert client.post("/models/parts/4/unload").json()["workers"] == []


def test_a_new_version_is_listed_and_waits_to_be_asked(client, inspect, save, site):
    save(site.settings.versions.weights_dir, "screws", {"bolt": -10.0, "screw": 10.0})
    new = {"name": "screws", "version": "1"}
    assert client.post("/models/rescan").json() == {"new": [new]}
    assert models(client)["screws/1"]["state"] == "available"
    assert inspect()["model"] == ONE
    loaded = client.post("/models/screws/1/load").json()
    assert (loaded["state"], loaded["serves"]) == ("ready", [])
    assert client.post("/categories/screw/route", json={"stable": new}).status_code == 200
    assert inspect("screw")["model"] == new
    assert inspect()["model"] == ONE


def test_what_serves_stays_and_what_does_not_can_go(client, problem):
    body = problem(client.post("/models/parts/1/unload"), 409, "conflict")
    assert "stable version of 'bolt'" in body["detail"]
    assert client.post("/models/parts/2/warm").json()["state"] == "ready"
    assert client.post("/models/parts/2/unload").json()["state"] == "unloaded"
    assert client.post("/categories/bolt/warm").json()["stable"] == ONE


def test_a_canary_answers_its_share_and_keeps_its_parts(client, inspect):
    canary = {**TWO, "share": 0.5}
    answer = client.post(ROUTE, json={"stable": ONE, "canary": canary}).json()
    assert answer["canary"] == canary
    keys = [f"request-{number}" for number in range(24)]
    answers = {key: inspect(**{"X-Request-ID": key}) for key in keys}
    by_model = Counter((a["model"]["version"], a["decision"]) for a in answers.values())
    assert set(by_model) == {("1", "OK"), ("2", "NG")}
    assert all(inspect(**{"X-Request-ID": key})["model"] == answers[key]["model"] for key in keys)


def test_a_shadow_is_compared_and_never_answers(client, inspect, eventually, site):
    client.post(ROUTE, json={"stable": ONE, "shadow": TWO})
    for _ in range(3):
        assert inspect()["model"] == ONE

    def compared():
        (comparison,) = client.get("/models").json()["shadows"]
        return comparison if comparison["compared"] + comparison["left_out"] == 3 else None

    comparison = eventually(compared, "a comparison")
    assert comparison["compared"] >= 1
    assert (comparison["answered_by"], comparison["shadow"], comparison["failed"]) == (ONE, TWO, 0)
    assert comparison["changes"] == [
        {"answered": "OK", "shadow": "NG", "parts": comparison["compared"]}
    ]
    assert comparison["largest_difference"] == pytest.approx(comparison["mean_difference"]) != 0
    differs = site.metric("mambaad_shadow_inspections_total", category="bolt", outcome="differs")
    assert differs == comparison["compared"]


def test_a_threshold_is_live_and_told_from_whom(client, inspect, site):
    raw = inspect()["raw_score"]
    change = {"threshold": raw - 0.1, **ADA}
    answer = client.put(THRESHOLD, json=change).json()
    assert (answer["threshold"], answer["model"]) == (raw - 0.1, ONE)
    assert answer["calibrated"] == {"threshold": 10.0, "review_threshold": None}
    assert (answer["set_by"]["who"], answer["set_by"]["reason"]) == ("Ada", "new lamp")
    assert "makes no promise" in answer["promise"]
    result = inspect()
    assert (result["decision"], result["threshold"]) == ("NG", raw - 0.1)
    review = {"threshold": raw + 0.1, "review_threshold": raw - 0.1, **ADA}
    client.put(THRESHOLD, json=review)
    assert inspect()["decision"] == "REVIEW"
    # The threshold belongs to parts/1: another version uses its own, and parts/1 this one again.
    assert client.get(THRESHOLD, params={"model": "parts/2"}).json()["threshold"] == -10.0
    client.put(THRESHOLD, json={"threshold": -9.0, "model": TWO, **ADA})
    client.post(ROUTE, json={"stable": TWO, "keep_previous": True})
    assert inspect()["threshold"] == -9.0
    client.delete(THRESHOLD, params=ADA)
    assert inspect()["threshold"] == -10.0
    client.post(ROUTE, json={"stable": ONE, "keep_previous": True})
    assert inspect()["decision"] == "REVIEW"
    reset = client.delete(THRESHOLD, params=ADA).json()
    assert (reset["threshold"], reset["set_by"]) == (10.0, None)
    assert inspect()["decision"] == "OK"
    history = [entry for entry in reset["history"] if entry["model"] == "parts/1"]
    assert len(reset["history"]) == 5
    assert [(entry["from"]["threshold"], entry["to"]["threshold"]) for entry in history] == [
        (raw + 0.1, 10.0), (raw - 0.1, raw + 0.1), (10.0, raw - 0.1)
    ]  # fmt: skip
    assert {(entry["who"], entry["caller"]) for entry in history} == {
        ("Ada", "anonymous@127.0.0.1")
    }
    stored = Deployment(site.settings.versions.state_dir)
    assert [r.category for r in stored.audit if r.action == "threshold"] == ["bolt"] * 5


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "slug"),
    [
        ("POST", "/models/parts/9/load", None, 404, "unknown-model"),
        ("POST", "/models/..%2fparts/1/load", None, 404, None),
        ("POST", "/models/%2e%2e/1/unload", None, 404, None),
        ("POST", "/models/parts/../load", None, 404, None),
        ("POST", ROUTE, {"stable": {"name": "../weights/parts", "version": "1"}}, 404,
         "unknown-model"),
        ("POST", ROUTE, {"stable": {"name": "nuts", "version": "1"}}, 422, "invalid-request"),
        ("POST", ROUTE, {"stable": ONE, "shadow": ONE}, 422, "invalid-request"),
        ("POST", ROUTE, {"stable": ONE, "canary": {**TWO, "share": 1.5}}, 422, "invalid-request"),
        ("POST", ROUTE, {"stable": ONE, "canarry": TWO}, 422, "invalid-request"),
        ("POST", "/categories/cog/route", {"stable": ONE}, 422, "invalid-request"),
        ("GET", "/categories/cog/route", None, 404, "unknown-category"),
        ("GET", "/categories/cog/threshold", None, 404, "unknown-category"),
        ("GET", THRESHOLD + "?model=nuts/1", None, 422, "invalid-request"),
        ("GET", THRESHOLD + "?model=parts", None, 404, "unknown-model"),
        ("PUT", THRESHOLD, {"threshold": 1.0}, 422, "invalid-request"),
        ("PUT", THRESHOLD, {"threshold": 1.0, "who": " ", "reason": "x"}, 422, "invalid-request"),
        ("PUT", THRESHOLD, {"threshold": 1.0, "review_threshold": 1.0, **ADA}, 422,
         "invalid-request"),
        ("PUT", THRESHOLD, {"threshold": "NaN", **ADA}, 422, "invalid-request"),
        ("PUT", THRESHOLD, {"threshold": 1.0, "who": "A\nB", "reason": "x"}, 422,
         "invalid-request"),
        ("DELETE", THRESHOLD, None, 422, "invalid-request"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(client, problem, site, method, path, body, status, slug):
    before = (site.settings.versions.state_dir / "deployment.json").read_bytes()
    response = client.request(method, path, json=body)
    assert response.status_code == status, response.text
    if slug:
        problem(response, status, slug)
    assert str(site.settings.versions.weights_dir) not in response.text
    assert (site.settings.versions.state_dir / "deployment.json").read_bytes() == before


def test_a_state_that_cannot_be_written_changes_nothing(
    client, inspect, problem, site, monkeypatch
):
    def refuse(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("service.versions.state.replace_file", refuse)
    refused = client.put(THRESHOLD, json={"threshold": -5.0, **ADA})
    body = problem(refused, 503, "state-not-written")
    assert "No space left" in body["detail"]
    assert str(site.settings.versions.state_dir) not in body["detail"]
    assert int(refused.headers["retry-after"]) > 1
    assert inspect()["decision"] == "OK"
    assert client.get(THRESHOLD).json()["threshold"] == 10.0


def test_no_request_fails_while_routes_switch(client, site, image):
    """Two threads post without a pause; each answer comes completely from one version."""
    stop = threading.Event()
    content = image()

    def post(_):
        answers = Counter()
        with site.client() as thread_client:
            while not stop.is_set():
                response = thread_client.post("/detect?category=bolt", content=content)
                assert response.status_code == 200, response.text
                result = response.json()["results"][0]
                threshold = result["threshold"]
                answers[result["model"]["version"], result["decision"], threshold] += 1
        return answers

    with ThreadPoolExecutor(2) as threads:
        posting = [threads.submit(post, number) for number in range(2)]
        try:
            for number in range(12):
                stable = (TWO, ONE)[number % 2]
                keep = number % 3 != 0
                client.post(ROUTE, json={"stable": stable, "keep_previous": keep})
                if keep:
                    other = "parts/1" if stable is TWO else "parts/2"
                    assert client.post(f"/models/{other}/unload").status_code == 200
        finally:
            stop.set()
        answers = posting[0].result() + posting[1].result()
    assert set(answers) <= {("1", "OK", 10.0), ("2", "NG", -10.0)}
    assert answers.total() >= 12


def test_fifty_loads_and_unloads_at_once_hurt_nobody(client, site, image):
    def change(number):
        verb = ("load", "unload")[number % 2]
        with site.client() as thread_client:
            return thread_client.post(f"/models/parts/2/{verb}").status_code

    def post(_):
        with site.client() as thread_client:
            return thread_client.post("/detect?category=bolt", content=image()).status_code

    with ThreadPoolExecutor(12) as threads:
        changed = [threads.submit(change, number) for number in range(50)]
        posted = [threads.submit(post, number) for number in range(10)]
        assert {future.result() for future in posted} == {200}
        assert {future.result() for future in changed} == {200}
    assert client.post("/models/parts/2/unload").json()["workers"] == []
    assert client.get("/readyz").json()["ready"]


def test_a_contested_category_waits_for_a_decision_and_says_so(client):
    """nuts/1 claimed nut first, nuts/2 is unfinished, rival/1 came later."""
    route = "/categories/nut/route"

    def look():
        categories = {c["category"]: c for c in client.get("/categories").json()["categories"]}
        models = {f"{m['name']}/{m['version']}": m for m in client.get("/models").json()["models"]}
        return categories, models

    categories, models = look()
    rival = {"name": "rival", "version": "1"}
    assert categories["nut"]["model"] == {"name": "nuts", "version": "1"}
    assert (categories["nut"]["contested"], categories["nut"]["also_claimed_by"]) == (True, [rival])
    assert not categories["bolt"]["contested"]  # it is routed
    contested = {name: model["contested"] for name, model in models.items() if model["contested"]}
    assert contested == {"nuts/1": ["nut"], "rival/1": ["nut"]}
    unfinished = {name: m["unfinished"] for name, m in models.items() if m["unfinished"]}
    assert unfinished == {"nuts/2": "3 of 100 epochs done"}
    assert client.get("/readyz").json()["ready"]

    half = {"name": "nuts", "version": "2"}
    assert client.post(route, json={"stable": half}).json()["stable"] == half
    categories, models = look()
    assert (categories["nut"]["model"], categories["nut"]["contested"]) == (half, False)
    assert categories["nut"]["also_claimed_by"] == [rival]
    assert models["rival/1"]["contested"] == []
    client.post(route, json={"stable": {"name": "nuts", "version": "1"}})


def test_those_who_may_inspect_may_not_change_what_serves(tmp_path, weights):
    path = tmp_path / "keys.json"
    secret = add_key(path, "line-3", [Scope.DETECT])
    app = create_app(
        Settings(
            versions=VersionSettings(weights_dir=weights), access=AccessSettings(api_keys_file=path)
        )
    )

    async def scenario():
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as client:
            return [
                (await client.request(method, path)).status_code
                for method, path in (
                    ("GET", "/models"), ("POST", ROUTE), ("PUT", THRESHOLD), ("DELETE", THRESHOLD),
                    ("POST", "/models/parts/1/load"), ("POST", "/models/parts/1/unload"),
                )
            ]  # fmt: skip

    assert set(asyncio.run(scenario())) == {403}


def test_a_service_starts_again_as_it_was_left(client, site, metrics):
    client.post(ROUTE, json={"stable": TWO, "shadow": ONE, "keep_previous": True})
    client.put(THRESHOLD, json={"threshold": 0.5, **ADA})
    state = Deployment(site.settings.versions.state_dir).state
    route = Registry(Store(site.settings.versions.weights_dir), metrics, state).find("bolt")
    assert (route.checkpoint.version, route.shadow.checkpoint.version) == ("2", "1")
    assert route.calibration.image_threshold == 0.5
    client.delete(THRESHOLD, params=ADA)
