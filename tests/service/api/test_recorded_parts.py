"""Every door's ids, what the line was told, and the record of what was answered and refused."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.inspection import Decision
from service.archive.records import DecisionSource, MediaState
from service.errors import QueueFull
from service.identifiers import new_id, parse_id
from service.inspection.submission import Origin
from service.settings import (
    AccessSettings,
    ApiSettings,
    ArchiveSettings,
    HttpSettings,
    InspectionSettings,
    Settings,
    VersionSettings,
)
from tests.service.archive.journals import events_of, rows_of
from tests.service.line import Line

ID = "X-Inspection-ID"


@pytest.fixture
def keep(tmp_path, metrics):
    """Lines with an archive."""
    lines = []

    def make(**archive):
        settings = Settings(
            versions=VersionSettings(weights_dir=tmp_path, state_dir=tmp_path / "state"),
            inspection=InspectionSettings(max_image_bytes=200_000, fail_safe="STOP"),
            http=HttpSettings(max_request_bytes=800_000),
            api=ApiSettings(max_files_per_request=6),
            access=AccessSettings(cors_origins=("http://page.plant",)),
            archive=ArchiveSettings(min_free_bytes=0, **archive),
        )
        lines.append(Line(settings, metrics))
        return lines[-1]

    yield make
    for line in lines:
        asyncio.run(line.recorder.close())
        line.archive.journal.close()


@pytest.fixture
def line(keep):
    return keep()


def rows(line, count=1):
    """The rows of the archive, by time, once there are so many; refusals are not waited for."""
    for _ in range(2000):
        found = rows_of(line.archive.journal)
        if len(found) >= count:
            return found
        asyncio.run(asyncio.sleep(0.005))
    raise AssertionError(f"{len(found)} rows")


def infer(line, image, parameters=None, outputs=("decision",), model="bolt", headers=None):
    content = {
        "inputs": [{
            "name": "image", "datatype": "BYTES", "shape": [1],
            "data": [base64.b64encode(image).decode()],
        }],
        "outputs": [{"name": name} for name in outputs],
        "parameters": parameters or {},
    }  # fmt: skip
    return line.post(f"/v2/models/{model}/infer", json=content, headers=headers or {})


def lookout(line, image, category="bolt", **headers):
    path = f"/2020-11-20/projects/{category}/models/latest/detect"
    return line.post(path, content=image, headers=headers)


def test_every_door_answers_with_the_id_that_is_recorded(line, image):
    content = image()
    detected = line.detect(content, category="bolt")
    inferred = infer(line, content)
    looked = lookout(line, content)
    (of_batch,) = line.post("/detect/batch", params={"category": "bolt"}, content=content).json()[
        "results"
    ]
    ids = [
        detected.json()["inspection_id"],
        inferred.json()["parameters"]["inspection_id"],
        looked.headers[ID],
        of_batch["inspection_id"],
    ]
    assert [str(row.inspection_id) for row in rows(line, 4)] == ids
    assert [detected.headers[ID], inferred.headers[ID]] == ids[:2]
    assert detected.json()["archived"] is of_batch["archived"] is True
    assert inferred.json()["parameters"]["archived"] is True
    assert looked.headers["x-archived"] == "true"
    assert {row.told for row in rows(line)} == {Decision.OK}


def test_a_batch_has_no_id_of_its_own(line, image):
    response = line.post("/detect/batch", params={"category": "bolt"}, content=image())
    assert ID not in response.headers
    response = line.post(
        "/detect/batch", params={"category": "bolt"}, content=image(), headers={ID: str(new_id())}
    )
    assert response.status_code == 400
    assert "give each image its own inspection_id" in response.text


@pytest.mark.parametrize("place", ["header", "query", "form", "json", "v2", "v2 header", "lookout"])
def test_an_id_of_the_client_is_taken(line, image, place):
    given, content = str(new_id()), image()
    fields = {"category": "bolt", "inspection_id": given.upper()}
    encoded = base64.b64encode(content).decode()
    answer = {
        "header": lambda: line.post(
            "/detect", params={"category": "bolt"}, content=content, headers={ID: given}
        ),
        "query": lambda: line.detect(content, **fields),
        "form": lambda: line.post("/detect", data=fields, files={"file": ("a.png", content)}),
        "json": lambda: line.post("/detect", json=fields | {"images": [{"content": encoded}]}),
        "v2": lambda: infer(line, content, {"inspection_id": given, "lot": 3}),
        "v2 header": lambda: infer(line, content, headers={ID: given}),
        "lookout": lambda: lookout(line, content, **{ID: given}),
    }[place]()
    assert (answer.status_code, answer.headers[ID]) == (200, given)
    (row,) = rows(line)
    assert str(row.inspection_id) == given


@pytest.mark.parametrize("wrong", ["part 7", "", "00000000-0000-4000-8000-000000000000", "é" * 50])
def test_an_id_that_is_none_is_refused_with_the_form_it_should_have(line, image, problem, wrong):
    for answer in (
        line.post("/detect", params={"category": "bolt", "inspection_id": wrong}, content=image()),
        infer(line, image(), {"inspection_id": wrong}),
    ):
        body = problem(answer, 400, "invalid-inspection-id")
        assert "expected a UUIDv7 such as" in body["detail"]
        assert (body["decision"], body["fail_safe"]) == ("UNDECIDED", "STOP")
        assert parse_id(answer.headers[ID])
    if wrong.isascii():
        headers = {ID: wrong}
        answer = line.post("/detect", params={"category": "bolt"}, content=image(), headers=headers)
        assert ID in problem(answer, 400, "invalid-inspection-id")["detail"]


def test_two_ids_of_one_part_are_refused(line, image, problem):
    first, second = str(new_id()), str(new_id())
    params = {"category": "bolt", "inspection_id": first}
    answer = line.post("/detect", params=params, content=image(), headers={ID: second})
    body = problem(answer, 400, "invalid-inspection-id")
    assert first in body["detail"]
    assert second in body["detail"]
    same = line.post("/detect", params=params, content=image(), headers={ID: first})
    assert same.status_code == 200


def test_one_id_for_two_parts_of_a_batch_is_refused(line, image, problem):
    encoded = base64.b64encode(image()).decode()
    one = {"category": "bolt", "content": encoded, "inspection_id": str(new_id())}
    body = problem(
        line.post("/detect/batch", json={"images": [one, one]}), 400, "invalid-inspection-id"
    )
    assert "2 images have the inspection_id" in body["detail"]
    assert line.jobs == []


def test_a_repeated_id_gets_the_decision_without_another_inspection(line, image):
    given = {"category": "nut", "inspection_id": str(new_id()), "part_id": "7"}
    first, second = (line.detect(image(), **given).json() for _ in range(2))
    assert len(line.jobs) == 1
    assert (first["replayed"], second["replayed"]) == (False, True)
    assert second | {"replayed": False} == first
    assert len(rows(line)) == 1


def test_a_repeated_id_of_a_batch_gets_its_decision(line, image):
    encoded = base64.b64encode(image()).decode()
    entry = {"category": "nut", "content": encoded, "inspection_id": str(new_id())}
    other = {"category": "bolt", "content": encoded}
    answers = [line.post("/detect/batch", json={"images": [entry, other]}).json() for _ in range(2)]
    assert [[part["replayed"] for part in answer["results"]] for answer in answers] == [
        [False, False],
        [True, False],
    ]
    assert [answer["decision"] for answer in answers] == ["NG", "NG"]


@pytest.mark.parametrize(
    "change",
    [
        {"category": "bolt"},
        {"seed": 1},
        {"part_id": "4712"},
        {"station": "B"},
        {"job_id": "night"},
        {"origin": "test"},
    ],
)
def test_an_id_of_another_part_is_a_conflict(line, image, problem, change):
    given = str(new_id())
    part = {"category": "nut", "part_id": "4711", "station": "A", "inspection_id": given}
    line.detect(image(), **part)
    content = image(seed=change.pop("seed", 0))
    answer = line.detect(content, **(part | change))
    body = problem(answer, 409, "inspection-id-reused")
    assert given in body["detail"]
    assert answer.headers["x-decision"] == "UNDECIDED"
    (row,) = rows(line)
    assert row.told is Decision.NG


def test_a_repetition_gets_the_fields_that_were_recorded(line, image):
    given = {"category": "nut", "inspection_id": str(new_id())}
    line.detect(image(), part_id="4711", station="A", meta='{"shift": 2}', **given)
    answer = line.detect(image(), **given).json()
    (result,) = answer["results"]
    assert answer["replayed"]
    assert (result["part_id"], result["station"], result["meta"]) == ("4711", "A", {"shift": 2})


def test_an_id_in_two_headers_is_refused(line, image, problem):
    headers = [(ID, str(new_id())), (ID, str(new_id()))]
    answer = line.post("/detect", params={"category": "nut"}, content=image(), headers=headers)
    assert "2 times" in problem(answer, 400, "invalid-inspection-id")["detail"]


def test_a_repetition_draws_its_heatmap_again(line, image):
    content, given = image(), str(new_id())

    def heatmap(kind):
        fields = {"category": "nut", "inspection_id": given, "heatmap": kind}
        (result,) = line.detect(content, **fields).json()["results"]
        return result["heatmap"]

    drawn = {kind: heatmap(kind) for kind in ("raw", "mask", "overlay", "none", "raw")}
    assert len(line.jobs) == 1
    assert drawn["none"] is None
    with Image.open(BytesIO(base64.b64decode(drawn["mask"]))) as mask:
        assert mask.size == (96, 48)
        assert np.asarray(mask)[0, 0] == 0
        assert np.asarray(mask)[-1, -1] == 255
    with Image.open(BytesIO(base64.b64decode(drawn["overlay"]))) as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (96, 48))


def test_a_repetition_whose_map_is_gone_is_answered_as_far_as_it_can_be(line, image, problem):
    content, given = image(), {"inspection_id": str(new_id()), "category": "nut"}
    first = line.detect(content, **given, heatmap="mask").json()
    for file in list(line.archive.media.files()):
        file.path.unlink()
    again = line.detect(content, **given, heatmap="mask").json()
    assert (again["decision"], again["replayed"]) == ("NG", True)
    assert first["results"][0]["heatmap"]
    assert again["results"][0]["heatmap"] is None
    headers = {ID: given["inspection_id"]}
    inferred = infer(line, content, None, ("anomaly_map",), "nut", headers)
    assert "decided NG" in problem(inferred, 409, "map-not-kept")["detail"]
    looked = lookout(line, content, "nut", **headers)
    assert (looked.status_code, looked.headers["x-amzn-errortype"]) == (409, "ConflictException")
    assert "decided NG" in looked.json()["Message"]
    # The decision alone needs no map.
    inferred = infer(line, content, None, ("decision",), "nut", headers)
    assert inferred.json()["parameters"]["replayed"] is True
    assert inferred.json()["outputs"][0]["data"] == ["NG"]


def test_other_doors_draw_their_answers_again(line, image):
    content = image()
    headers = {ID: str(new_id())}
    maps = [infer(line, content, None, ("anomaly_map",), "nut", headers).json() for _ in range(2)]
    first, second = (np.array(answer["outputs"][0]["data"]) for answer in maps)
    np.testing.assert_allclose(first, second, atol=1e-5)
    looked = lookout(line, content, "nut", **headers)
    assert looked.headers["x-inspection-replayed"] == "true"
    assert looked.json()["DetectAnomalyResult"]["AnomalyMask"]
    assert len(line.jobs) == 1


def test_a_key_of_idempotency_brings_the_id_of_its_first_answer(line, image):
    def ask(inspection_id, content):
        headers = {"Idempotency-Key": "part-7", ID: inspection_id}
        return line.post("/detect", params={"category": "bolt"}, content=content, headers=headers)

    for content, status in ((image(), 200), (b"no image", 415)):
        line.answers._entries.clear()
        first, second = str(new_id()), str(new_id())
        answers = [ask(first, content), ask(second, content)]
        assert [answer.headers[ID] for answer in answers] == [first, first]
        assert [answer.status_code for answer in answers] == [status] * 2
    assert len(rows(line)) == 2


# Origins, and what the line was told


@pytest.mark.parametrize(
    ("headers", "fields", "origin"),
    [
        ({}, {}, Origin.LINE),
        ({"Sec-Fetch-Mode": "cors"}, {}, Origin.TEST),
        ({"Sec-Fetch-Site": "same-origin"}, {"origin": "line"}, Origin.LINE),
        ({}, {"origin": "test"}, Origin.TEST),
        ({}, {"told": "OK"}, Origin.LATE),
        ({}, {"told": "OK", "origin": "test"}, Origin.TEST),
    ],
)
def test_the_origin_of_a_part(line, image, metrics, headers, fields, origin):
    params = {"category": "nut", **fields}
    answer = line.post("/detect", params=params, content=image(), headers=headers)
    assert answer.json()["decision"] == "NG"
    (row,) = rows(line)
    assert row.origin is origin
    counted = metrics.registry.get_sample_value(
        "mambaad_decisions_total", {"category": "nut", "decision": "NG"}
    )
    assert (counted or 0) == (origin is Origin.LINE)


def test_a_told_part_is_inspected_for_the_record(line, image):
    told = {"told": "UNDECIDED", "told_reason": "no answer in time"}
    moment = {"captured_at": "2026-11-29T10:15:30.250+01:00"}
    answer = line.detect(image(), category="nut", **told, **moment).json()
    assert answer["decision"] == "NG"
    (row,) = rows(line)
    assert (row.told, row.told_reason, row.found) == (
        Decision.UNDECIDED, "no answer in time", Decision.NG,
    )  # fmt: skip
    assert (row.source, row.origin) == (DecisionSource.CLIENT, Origin.LATE)
    assert row.captured_at == datetime(2026, 11, 29, 9, 15, 30, 250_000, tzinfo=UTC)
    assert line.jobs[0].priority.name == "LOW"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"captured_at": "1700000000"}, "expected a time with its zone"),
        ({"captured_at": "2026-11-29T10:15:30"}, "timezone"),
        ({"captured_at": "1970-01-01T00:00:00Z"}, "expected a year from 2000 to 2199"),
        ({"captured_at": "9999-12-31T23:59:59-23:00"}, "expected a year"),
        ({"told": "ok"}, "told"),
        ({"told_reason": "late"}, "told_reason without told"),
        ({"told": "OK", "told_reason": "x" * 257}, "told_reason"),
        ({"origin": "late"}, "origin"),
    ],
)
def test_fields_that_make_no_sense_are_refused(line, image, problem, fields, fault):
    encoded = base64.b64encode(image()).decode()
    posted = {"category": "bolt", **fields}
    for answer in (
        line.detect(image(), **posted),
        line.post("/detect", json=posted | {"images": [{"content": encoded}]}),
        line.post("/detect/batch", json={"images": [posted | {"content": encoded}]}),
    ):
        if answer.status_code == 200:  # a batch, in which one part is refused
            (result,) = answer.json()["results"]
            assert fault in result["error"]["detail"]
        else:
            assert fault in problem(answer, 422, "invalid-request")["detail"]
    assert line.jobs == []


# POST /inspections


def record(line, content=None, **fields):
    if content is None:
        return line.post("/inspections", json=fields)
    return line.post("/inspections", params=fields, content=content)


def test_a_part_is_recorded_as_the_line_was_told(line):
    answer = record(
        line, category="bolt", told="OK", told_reason="by hand", part_id="7", meta={"n": 1}
    )
    assert answer.status_code == 201
    row = answer.json()
    assert (row["told"], row["found"], row["origin"], row["source"]) == (
        "OK", None, "late", "client",
    )  # fmt: skip
    assert (row["part_id"], row["meta"], row["views"]) == ("7", {"n": 1}, [])
    assert row["inspection_id"] == answer.headers[ID]
    assert "x-decision" not in answer.headers
    assert line.jobs == []


def test_its_image_is_inspected_for_the_record(line, image):
    given = str(new_id())
    told = {"category": "nut", "inspection_id": given, "told": "UNDECIDED"}
    first = record(line, **told).json()
    assert (first["inspection_id"], first["found"]) == (given, None)
    second = record(line, image(), **told).json()
    assert (second["told"], second["found"], len(second["views"])) == ("UNDECIDED", "NG", 1)
    assert second["views"][0]["image"]["state"] == "kept"
    assert second["received_at"] == first["received_at"]
    third = record(line, image(), **told | {"told": "NG", "told_reason": "seen"}).json()
    assert (third["told"], third["found"], len(line.jobs)) == ("NG", "NG", 1)
    assert [kind for _, kind, _ in events_of(line.archive.journal)] == [
        "inspection", "update", "update",
    ]  # fmt: skip


def test_a_form_takes_several_views_or_none(line, image):
    files = [("file", ("a.png", image())), ("file", ("b.png", image(seed=1)))]
    fields = {"category": "bolt", "told": "OK"}
    row = line.post("/inspections", data=fields, files=files).json()
    assert [view["filename"] for view in row["views"]] == ["a.png", "b.png"]
    multipart = {name: (None, value) for name, value in fields.items()}
    assert line.post("/inspections", files=multipart).json()["views"] == []


@pytest.mark.parametrize(
    ("category", "content", "slug"),
    [("nothing", None, "unknown-category"), ("bolt", b"no image", "unsupported-image")],
)
def test_what_was_told_is_recorded_although_the_image_is_of_no_use(
    line, image, category, content, slug
):
    answer = record(line, content or image(), category=category, told="OK")
    assert answer.status_code == 201
    row = answer.json()
    assert (row["told"], row["found"], row["problem"]) == ("OK", None, slug)


def test_a_part_that_the_queue_has_no_room_for_is_recorded_and_tried_again(line, image):
    told = {"category": "nut", "inspection_id": str(new_id()), "told": "OK"}
    full = iter([QueueFull("full")] * 3)
    line.admit_error = lambda: next(full, None)
    row = record(line, image(), **told).json()  # late parts wait for room
    assert (row["told"], row["found"]) == ("OK", "NG")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"told": "OK"}, "no category"),
        ({"category": "bolt"}, "no told"),
        ({"category": "bolt", "told": "OK", "heatmap": "map"}, "heatmap has no effect"),
        ({"category": "bolt", "told": "OK", "priority": "high"}, "priority has no effect"),
    ],
)
def test_a_record_needs_what_was_told(line, problem, fields, fault):
    body = problem(record(line, **fields), 422, "invalid-request")
    assert fault in body["detail"]
    assert "decision" not in body


def test_a_record_of_another_part_is_a_conflict(line, image, problem):
    given = str(new_id())
    line.detect(image(), category="nut", inspection_id=given)
    for answer in (
        record(line, category="bolt", inspection_id=given, told="OK"),
        record(line, image(seed=2), category="nut", inspection_id=given, told="OK"),
    ):
        problem(answer, 409, "inspection-id-reused")
    (row,) = rows(line)
    assert row.told is Decision.NG


# Refusals


def refused(line, count=1):
    found = [row for row in rows(line, count) if row.problem]
    assert all(row.told is Decision.UNDECIDED for row in found)
    assert {row.source for row in found} == {DecisionSource.FAIL_SAFE}
    return [(row.problem, row.category, row.part_id, row.fail_safe) for row in found]


def test_refusals_are_recorded_with_what_is_known_of_the_part(line, image):
    line.detect(image(), category="nothing", part_id="1")
    line.post("/detect", params={"part_id": "2"}, content=image())
    line.post("/detect", params={"category": "bolt", "part_id": "3"}, content=b"x" * 300_000)
    line.post("/detect", data={"category": "bolt"}, files={"other": ("a", b"")})
    infer(line, image(), {"part_id": "4"}, model="nothing")
    lookout(line, image(), "nothing")
    line.post("/detect/batch", params={"category": "bolt"}, content=b"{}")
    headers = {"X-Request-Timeout-Ms": "soon"}
    line.post("/detect", params={"category": "nut"}, content=image(), headers=headers)
    assert refused(line, 8) == [
        ("unknown-category", "nothing", "1", "STOP"),
        ("invalid-request", "", "2", "STOP"),
        ("body-too-large", "bolt", "3", "STOP"),
        ("invalid-request", "", None, "STOP"),
        ("unknown-category", "nothing", "4", "STOP"),
        ("unknown-category", "nothing", None, "STOP"),
        ("unsupported-image", "bolt", None, "STOP"),
        ("invalid-request", "nut", None, "STOP"),
    ]


def test_a_full_queue_is_recorded_without_the_image_and_a_damaged_image_with_it(line, image):
    line.admit_error = lambda: QueueFull("full")
    line.detect(image(), category="bolt", part_id="1")
    line.admit_error = lambda: None
    line.detect(image()[:300], category="bolt", part_id="2")
    line.detect(image(), category="crash", part_id="3")
    line.detect(image(), category="ghost", part_id="4")
    full, damaged, crashed, ghost = rows(line, 4)
    assert (full.problem, full.views) == ("queue-full", ())
    assert (damaged.problem, damaged.views[0].image_state) == ("undecodable-image", MediaState.KEPT)
    assert (crashed.problem, crashed.views[0].image_state) == ("internal-error", MediaState.KEPT)
    assert "mistake" not in crashed.problem_detail
    assert (ghost.problem, ghost.views[0].image_state) == ("non-finite-result", MediaState.KEPT)


def test_a_part_of_a_batch_that_lacks_a_field_is_recorded(line, image):
    encoded = base64.b64encode(image()).decode()
    images = [{"content": encoded, "part_id": "1"}, {"content": encoded, "category": "bolt"}]
    answer = line.post("/detect/batch", json={"images": images}).json()
    assert answer["counts"]["UNDECIDED"] == 1
    assert refused(line, 2) == [("invalid-request", "", "1", "STOP")]
    ids = {str(row.inspection_id) for row in rows(line, 2)}
    assert ids == {result["inspection_id"] for result in answer["results"]}


def test_who_may_not_inspect_leaves_no_record(line, image):
    line.post("/detect", headers={"Origin": "http://evil.example"}, content=image())
    line.post("/prefix/detect", params={"category": "bolt"}, content=image())
    line.get("/detect")
    line.detect(image(), category="bolt")  # the only row
    (row,) = rows(line)
    assert row.problem is None


def test_a_client_that_leaves_leaves_an_undecided_part(line, image):
    async def scenario(client):
        sending = asyncio.create_task(
            client.post("/detect", params={"category": "silence"}, content=image())
        )
        while not line.jobs:
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    line.run(scenario)
    assert refused(line) == [("client-gone", "silence", None, "STOP")]


def test_every_part_of_a_batch_whose_client_leaves_is_recorded(line, image):
    images = [
        {"content": base64.b64encode(image()).decode(), "category": "silence", "part_id": str(n)}
        for n in range(6)
    ]

    async def scenario(client):
        sending = asyncio.create_task(client.post("/detect/batch", json={"images": images}))
        while len(line.jobs) < 4:  # the others wait for their turn
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    line.run(scenario)
    assert sorted(refused(line, 6)) == [
        ("client-gone", "silence", str(n), "STOP") for n in range(6)
    ]


def test_what_is_refused_may_be_tried_again_under_its_id(line, image):
    given = {"category": "nut", "inspection_id": str(new_id())}
    line.admit_error = lambda: QueueFull("full")
    assert line.detect(image(), **given).status_code == 503
    rows(line)
    line.admit_error = lambda: None
    answer = line.detect(image(), **given).json()
    assert (answer["decision"], answer["replayed"], answer["archived"]) == ("NG", False, True)
    (row,) = rows(line)
    assert (row.told, row.problem) == (Decision.NG, None)


# A disk that refuses


def fill(line):
    def limit(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all()

    line.archive.journal.write_now(limit)


def until_full(line, image):
    for _ in range(500):
        answer = line.detect(image, category="bolt", meta=json.dumps({"note": "x" * 3000}))
        if answer.status_code != 200 or not answer.json()["archived"]:
            return answer
    raise AssertionError("the disk is never full")


def test_parts_are_answered_while_the_disk_is_full(line, image):
    fill(line)
    answer = until_full(line, image())
    assert (answer.status_code, answer.json()["decision"], answer.json()["archived"]) == (
        200, "OK", False,
    )  # fmt: skip
    assert answer.headers["x-archived"] == "false"


def test_parts_are_refused_while_the_disk_is_full_if_each_must_be_recorded(keep, image, problem):
    line = keep(on_failure="refuse")
    fill(line)
    answer = until_full(line, image())
    body = problem(answer, 503, "journal-unavailable")
    assert "the disk is full" in body["detail"]
    assert (body["decision"], body["fail_safe"]) == ("UNDECIDED", "STOP")
    assert int(answer.headers["retry-after"]) > 0
    assert line.jobs
    assert "the disk is full" in (line.recorder.refusing() or "")


def test_a_service_that_answers_without_a_record_refuses_none(line, image):
    fill(line)
    until_full(line, image())
    assert line.recorder.failure
    assert line.recorder.refusing() is None


def test_without_an_archive_there_are_ids_and_nothing_else(tmp_path, metrics, image, problem):
    line = Line(Settings(versions=VersionSettings(weights_dir=tmp_path)), metrics)
    given = str(new_id())
    answers = [line.detect(image(), category="bolt", inspection_id=given) for _ in range(2)]
    for answer in answers:
        assert answer.headers[ID] == answer.json()["inspection_id"] == given
        assert (answer.json()["archived"], answer.json()["replayed"]) == (None, False)
        assert "x-archived" not in answer.headers
    assert len(line.jobs) == 2
    assert (
        "STATE_DIR"
        in problem(record(line, category="bolt", told="OK"), 404, "no-archive")["detail"]
    )
