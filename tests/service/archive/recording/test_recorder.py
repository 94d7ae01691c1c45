"""A part's way into the journal: its files, its row, and what a repeated id gets."""

import asyncio
import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Connection

from model.checkpoints.key import CheckpointKey
from model.images.preprocess import Preprocessing
from model.inspection import Decision, Region
from service.archive import store
from service.archive.media import MAP_SUFFIX, Media
from service.archive.recording import Recorder
from service.archive.recording.entries import calibration_version
from service.archive.records import DecisionSource, MediaState
from service.errors import (
    DeadlineExceeded,
    InspectionIdReused,
    JournalUnavailable,
    NonFiniteResult,
    QueueFull,
    UndecodableImage,
    WorkerLost,
)
from service.identifiers import new_id
from service.inspection.images.maps import read_map, write_map
from service.inspection.images.sources import Base64Upload, Upload, content_of, fingerprint_of
from service.inspection.options import InspectOptions, PartFields
from service.inspection.request import PartRequest
from service.inspection.result import Attempt, Inspected, PartResult
from service.inspection.submission import Origin, Submission, Told
from service.settings import ArchiveSettings
from service.versions.registry import Route
from service.workers.pipe.messages import Finding
from tests.service.archive.journals import Blocked, counts_of, events_of, opened

SHARES = {"OK": 0.0, "NG": 1.0, "REVIEW": 1.0, "UNDECIDED": 1.0}
REGION = Region((1, 2, 3, 4), 9, (2, 3), 0.75)
SCORES = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
FIELDS = PartFields(part_id="part-7", station="EL-3", job_id="lot-1", meta={"exposure_ms": 40})
TOLD = Told(Decision.UNDECIDED, "no time")


@pytest.fixture
def media(tmp_path):
    return Media(tmp_path / "archive" / "media", min_free_bytes=0)


@pytest.fixture
def recorder(journal, media):
    """Recorders of one journal, with settings."""

    def make(**settings):
        return Recorder(journal, media, ArchiveSettings(keep_images=SHARES, **settings), "STOP")

    return make


@pytest.fixture
def route(calibration):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    checkpoint = CheckpointKey("parts", "3")
    return Route("bolt", checkpoint, preprocessing, calibration(20.0), None, None, sha256="ab" * 32)


@pytest.fixture
def inspected(route):
    """A part with an outcome for each view: a decision, or an error."""

    def make(*outcomes, part=None, **submission):
        if part is None:
            views = [Upload(f"{i}.png", f"image {i}".encode()) for i in range(len(outcomes))]
            part = part_of(*views, **submission)
        attempts = [attempt(*pair, route) for pair in zip(part.views, outcomes, strict=True)]
        result = PartResult(
            route,
            [attempt.result for attempt in attempts],
            part.submission.inspection_id,
            all_or_none=part.all_or_none,
        )
        return part, result, attempts

    return make


def part_of(*views, category="bolt", request_id="r7", options=None, all_or_none=False, **fields):
    submission = Submission(fields.pop("inspection_id", None) or new_id(), caller="line", **fields)
    options = options or InspectOptions(part=FIELDS)
    return PartRequest(
        category, views, options, request_id, submission=submission, all_or_none=all_or_none
    )


def attempt(source, outcome, route):
    fingerprint = fingerprint_of(content_of(source))
    if isinstance(outcome, Exception):
        return Attempt(outcome)
    raw = {Decision.OK: 10.0, Decision.REVIEW: 19.0, Decision.NG: 30.0}[outcome]
    finding = Finding(
        outcome, raw / 40, raw, 20.0, (REGION,), {"encoder": 1.0}, engine="openvino, bfloat16"
    )
    result = Inspected(
        "bolt", route.checkpoint, finding, (96, 48), {"total": 5.00049}, PartFields()
    )
    map_file = None if outcome is Decision.OK else write_map(SCORES)
    return Attempt(result, None, fingerprint, map_file)


def run(recorder, scenario):
    """Run a coroutine function with the recorder, and close it."""

    async def go():
        try:
            return await scenario(asyncio.get_running_loop().time() + 60)
        finally:
            await recorder.close()

    return asyncio.run(go())


def recorded(recorder, part, result, attempts):
    """Record a part; return the result and the row."""

    async def scenario(deadline):
        answer = await recorder.record(part, result, attempts, deadline)
        return answer, await recorder.find(part.submission.inspection_id)

    return run(recorder, scenario)


def in_turn(recorder, *parts, recall=True):
    """Record parts one after the other, as inspections do; return the results."""

    async def scenario(deadline):
        results = []
        for part, result, attempts in parts:
            earlier = await recorder.recall(part, deadline) if recall else None
            results.append(earlier or await recorder.record(part, result, attempts, deadline))
        return results

    return run(recorder, scenario)


def find(journal, inspection_id):
    with journal.reading() as connection:
        return store.find(connection, inspection_id)


def test_a_row_tells_everything_of_a_part(recorder, media, inspected, route):
    captured = datetime(2026, 11, 29, 9, tzinfo=UTC)
    before = datetime.now(UTC)
    part, result, attempts = inspected(Decision.OK, Decision.NG, captured_at=captured)
    answer, row = recorded(recorder(), part, result, attempts)
    assert (answer.decision, answer.archived, answer.replayed) == (Decision.NG, True, False)
    assert before <= row.received_at <= datetime.now(UTC)
    assert row.inspection_id == part.submission.inspection_id
    assert (row.category, row.origin, row.captured_at) == ("bolt", Origin.LINE, captured)
    assert (row.part_id, row.station, row.job_id) == ("part-7", "EL-3", "lot-1")
    assert (row.meta, row.request_id, row.caller) == ({"exposure_ms": 40}, "r7", "line")
    assert (row.told, row.source, row.fail_safe) == (Decision.NG, DecisionSource.NETWORK, None)
    assert (row.found, row.score, row.raw_score) == (Decision.NG, 0.75, 30.0)
    assert (row.threshold, row.review_threshold, row.problem) == (20.0, None, None)
    assert (row.model_name, row.model_version, row.model_sha256) == ("parts", "3", "ab" * 32)
    assert row.calibration_version == calibration_version(route.calibration)
    good, bad = row.views
    assert (bad.filename, bad.width, bad.height, bad.image_bytes) == ("1.png", 96, 48, 7)
    assert (bad.found, bad.score, bad.threshold) == (Decision.NG, 0.75, 20.0)
    assert (bad.timings_ms, bad.engine) == ({"total": 5.0}, "openvino, bfloat16")
    (region,) = bad.regions
    assert region == {
        "x": 1, "y": 2, "width": 3, "height": 4, "area_px": 9, "peak": {"x": 2, "y": 3},
        "peak_score": 0.75,
    }  # fmt: skip
    # An NG part keeps the images of all its views, and the maps that the workers have sent.
    assert (good.image_state, good.map_state) == (MediaState.KEPT, MediaState.NOT_SAMPLED)
    assert (bad.image_state, bad.map_state) == (MediaState.KEPT, MediaState.KEPT)
    day = row.received_at.date()
    assert media.read(bad.image_sha256, day) == b"image 1"
    scores = read_map(media.read(bad.map_sha256, day, MAP_SUFFIX))
    np.testing.assert_allclose(scores, SCORES, atol=1e-5)


def test_a_calibration_is_named_by_all_its_numbers(calibration):
    names = {
        calibration_version(calibration(20.0)),
        calibration_version(calibration(20.5)),
        calibration_version(calibration(20.0).with_thresholds(image=20.0, review=10.0)),
        calibration_version(calibration(20.0)),
    }
    assert len(names) == 3
    assert {len(name) for name in names} == {12}


def test_a_part_that_is_not_sampled_leaves_its_hash(recorder, media, inspected):
    part, result, attempts = inspected(Decision.OK)
    _, row = recorded(recorder(), part, result, attempts)
    (view,) = row.views
    assert (view.image_state, view.map_state) == (MediaState.NOT_SAMPLED,) * 2
    assert view.image_sha256 == hashlib.sha256(b"image 0").hexdigest()
    assert not list(media.files())


def test_the_share_of_kept_parts_is_that_of_the_setting(recorder):
    maps_of = recorder().maps_of
    assert maps_of(Submission(new_id())) == {Decision.NG, Decision.REVIEW, Decision.UNDECIDED}
    # A part that the line was told about is kept by that decision, too.
    assert maps_of(Submission(new_id(), told=TOLD)) == set(Decision)
    some = recorder()
    some._writer._shares[Decision.OK] = 0.3
    kept = sum(Decision.OK in some.maps_of(Submission(new_id())) for _ in range(2000))
    assert 480 < kept < 720


def test_a_tensor_is_kept_as_a_picture_and_base64_as_its_file(recorder, media, inspected):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    encoded = Base64Upload("b.png", base64.b64encode(b"a file"))
    part = part_of(Image.fromarray(pixels), encoded)
    _, row = recorded(recorder(), *inspected(Decision.NG, Decision.NG, part=part))
    tensor, file = row.views
    path = media.find(tensor.image_sha256, row.received_at.date())
    with Image.open(path) as stored:
        assert (path.suffix, stored.format) == (".png", "PNG")
        assert (np.asarray(stored) == pixels).all()
    assert (tensor.filename, file.filename) == (None, "b.png")
    assert media.read(file.image_sha256, row.received_at.date()) == b"a file"


@pytest.mark.parametrize(
    "error", [UndecodableImage("cut off"), NonFiniteResult("nan"), WorkerLost("gone")]
)
def test_an_image_that_could_not_be_inspected_is_kept(recorder, media, inspected, error):
    answer, row = recorded(recorder(), *inspected(error))
    assert (answer.decision, answer.archived) == (Decision.UNDECIDED, True)
    assert (row.told, row.source, row.found) == (Decision.UNDECIDED, DecisionSource.FAIL_SAFE, None)
    assert (row.fail_safe, row.problem_detail, row.model_name) == ("STOP", str(error), None)
    (view,) = row.views
    assert (view.problem, view.image_state) == (row.problem, MediaState.KEPT)
    assert view.map_state is MediaState.MISSING
    assert media.read(view.image_sha256, row.received_at.date()) == b"image 0"


def test_a_refusal_is_recorded_soon_and_without_its_image(journal, recorder, media, inspected):
    part, result, attempts = inspected(QueueFull("full"), QueueFull("full"))

    async def scenario(deadline):
        answer = await writer.record(part, result, attempts, deadline)
        while (row := await writer.find(part.submission.inspection_id)) is None:
            await asyncio.sleep(0.01)
        return answer, row

    writer = recorder()
    answer, row = run(writer, scenario)
    assert (answer.archived, answer.errors.keys()) == (None, {0, 1})
    assert (row.told, row.problem, row.views) == (Decision.UNDECIDED, "queue-full", ())
    assert (row.part_id, row.caller, row.fail_safe) == ("part-7", "line", "STOP")
    assert not list(media.files())


def test_a_part_is_decided_by_all_its_views(recorder, inspected):
    mixed = inspected(Decision.OK, UndecodableImage("cut off"))
    _, row = recorded(recorder(), *mixed)
    assert (row.told, row.found, row.problem) == (Decision.UNDECIDED, None, None)
    assert (row.score, row.views[1].problem) == (0.25, "undecodable-image")
    _, row = recorded(recorder(), *inspected(Decision.NG, UndecodableImage("cut off")))
    assert (row.told, row.source) == (Decision.NG, DecisionSource.NETWORK)


def test_a_part_of_all_or_none_is_undecided_if_one_view_is(recorder, inspected):
    views = [Upload(None, b"one"), Upload(None, b"two")]
    part = part_of(*views, all_or_none=True)
    _, row = recorded(recorder(), *inspected(Decision.NG, NonFiniteResult("nan"), part=part))
    assert (row.told, row.found) == (Decision.UNDECIDED, None)
    assert (row.problem, row.views[0].found) == ("non-finite-result", Decision.NG)


# A repeated id


def test_a_repeated_id_gets_the_first_decision_after_a_restart_too(
    tmp_path, media, inspected, calibration
):
    part, result, attempts = inspected(Decision.REVIEW, UndecodableImage("cut off"), Decision.NG)
    settings = ArchiveSettings(keep_images=SHARES)
    for _ in range(2):
        with opened(tmp_path / "restarted") as journal:
            writer = Recorder(journal, media, settings, "NG")
            (answer,) = in_turn(writer, (part, result, attempts))
    assert (answer.decision, answer.archived, answer.replayed) == (Decision.NG, True, True)
    assert answer.inspection_id == part.submission.inspection_id
    review, damaged, bad = answer.views
    assert isinstance(damaged, UndecodableImage)
    assert str(damaged) == "cut off"
    assert (review.finding.decision, review.checkpoint) == (
        Decision.REVIEW,
        CheckpointKey("parts", "3"),
    )
    before = attempts[2].result
    assert (bad.finding.raw_score, bad.size) == (before.finding.raw_score, (96, 48))
    assert (bad.finding.regions, bad.part) == (before.finding.regions, FIELDS)


@pytest.mark.parametrize("recall", [True, False], ids=["read", "only written"])
def test_a_repeated_id_is_recorded_once(journal, recorder, inspected, recall):
    part, result, attempts = inspected(Decision.NG)
    other = inspected(Decision.NG, part=part)[1:]
    first, second = in_turn(recorder(), (part, result, attempts), (part, *other), recall=recall)
    assert (first.replayed, second.replayed) == (False, True)
    assert [kind for _, kind, _ in events_of(journal)] == ["inspection"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category": "nut"}, "is of the category 'bolt'"),
        ({"views": [Upload(None, b"another")]}, "has other images"),
        ({"views": [Upload("0.png", b"image 0")] * 2}, "has other images"),
    ],
)
def test_an_id_of_another_part_is_refused(recorder, inspected, change, reason):
    part, result, attempts = inspected(Decision.NG)

    async def scenario(deadline):
        await writer.record(part, result, attempts, deadline)
        with pytest.raises(InspectionIdReused, match=reason):
            await writer.recall(replace(part, **change), deadline)

    writer = recorder()
    run(writer, scenario)


@pytest.mark.parametrize("is_noted", [True, False], ids=["on disk", "on its way"])
def test_a_refusal_is_replaced_by_the_decision_of_a_retry(journal, recorder, inspected, is_noted):
    part, refused, nothing = inspected(QueueFull("full"))
    _, result, attempts = inspected(Decision.NG, part=part)

    async def scenario(deadline):
        await writer.record(part, refused, nothing, deadline)
        while is_noted and await writer.find(part.submission.inspection_id) is None:
            await asyncio.sleep(0.01)
        assert await writer.recall(part, deadline) is None
        answer = await writer.record(part, result, attempts, deadline)
        return answer, await writer.find(part.submission.inspection_id)

    writer = recorder()
    answer, row = run(writer, scenario)
    assert (answer.archived, answer.replayed) == (True, False)
    assert (row.told, row.source, row.problem) == (Decision.NG, DecisionSource.NETWORK, None)
    assert (row.found, len(row.views), row.fail_safe) == (Decision.NG, 1, None)
    assert [kind for _, kind, _ in events_of(journal)] == ["inspection", "update"]
    assert counts_of(journal) == {"NG": 1}


def test_a_damaged_image_is_refused_again_without_another_look(recorder, inspected):
    part, result, attempts = inspected(UndecodableImage("cut off"))
    _, again = in_turn(recorder(), (part, result, attempts), (part, result, attempts))
    assert again.replayed
    assert isinstance(again.views[0], UndecodableImage)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_repeated_id_gets_its_map_while_it_is_kept(recorder, media, inspected, wanted):
    part, result, attempts = inspected(Decision.NG)
    options = replace(part.options, anomaly_map=wanted)

    async def scenario(deadline):
        await writer.record(part, result, attempts, deadline)
        first = await writer.recall(replace(part, options=options), deadline)
        for file in list(media.files()):
            file.path.unlink()
        return first, await writer.recall(replace(part, options=options), deadline)

    writer = recorder()
    first, second = run(writer, scenario)
    scores = first.views[0].finding.pixel_scores
    if wanted:
        np.testing.assert_allclose(scores, SCORES, atol=1e-5)
    else:
        assert scores is None
    assert second.views[0].finding.pixel_scores is None


# Told and found


def test_a_late_image_adds_what_the_network_finds_and_changes_nothing_told(
    journal, recorder, inspected
):
    part = part_of(told=TOLD, origin=Origin.LATE)

    async def scenario(deadline):
        await writer.tell(part, deadline)
        late, result, attempts = inspected(
            Decision.NG,
            inspection_id=part.submission.inspection_id,
            origin=Origin.LATE,
            told=Told(Decision.UNDECIDED, "no time"),
        )
        assert await writer.recall(late, deadline) is None
        answer = await writer.record(late, result, attempts, deadline)
        return answer, await writer.find(part.submission.inspection_id)

    writer = recorder()
    answer, row = run(writer, scenario)
    assert (answer.decision, answer.archived) == (Decision.NG, True)
    assert (row.told, row.told_reason, row.source) == (
        Decision.UNDECIDED, "no time", DecisionSource.CLIENT,
    )  # fmt: skip
    assert (row.found, row.origin, row.fail_safe) == (Decision.NG, Origin.LATE, None)
    assert counts_of(journal) == {"UNDECIDED": 1}


def test_an_image_that_is_kept_for_the_told_decision_has_its_map(recorder, inspected):
    part, result, attempts = inspected(Decision.OK, told=TOLD, origin=Origin.LATE)
    attempts[0].map_file = write_map(SCORES)  # as `maps_of` has asked
    _, row = recorded(recorder(), part, result, attempts)
    (view,) = row.views
    assert (view.image_state, view.map_state) == (MediaState.KEPT, MediaState.KEPT)


@pytest.mark.parametrize("outcome", [Decision.OK, QueueFull("full")])
def test_what_the_line_was_told_is_corrected_by_who_was_there(recorder, inspected, outcome):
    """The service has answered, or refused, and the station tells what it made of that."""
    part, result, attempts = inspected(outcome)
    told = Told(Decision.REVIEW, "the answer came too late")
    late = replace(part, views=[], submission=replace(part.submission, told=told))

    async def scenario(deadline):
        await writer.record(part, result, attempts, deadline)
        await writer.tell(late, deadline)
        await writer.tell(late, deadline)  # again, which changes nothing
        return await writer.find(part.submission.inspection_id)

    writer = recorder()
    row = run(writer, scenario)
    assert (row.told, row.told_reason) == (Decision.REVIEW, "the answer came too late")
    assert (row.source, row.fail_safe, row.origin) == (DecisionSource.CLIENT, None, Origin.LINE)
    assert row.found == (outcome if isinstance(outcome, Decision) else None)


def test_what_a_refusal_did_not_know_of_its_part_comes_with_what_the_line_was_told(
    recorder, inspected
):
    """The first request broke before its fields were read; the station tells without an image."""
    known, _, _ = inspected(Decision.OK)
    identity = known.submission.inspection_id
    broken = part_of(category="", inspection_id=identity, options=InspectOptions())
    late = replace(known, views=[], submission=replace(known.submission, told=TOLD))

    async def scenario(deadline):
        writer.refuse(broken, "deadline-exceeded", "the body did not arrive")
        while await writer.find(identity) is None:
            await asyncio.sleep(0.01)
        return await writer.tell(late, deadline), await writer.find(identity)

    writer = recorder()
    for row in run(writer, scenario):
        assert (row.category, row.part_id, row.station) == ("bolt", "part-7", "EL-3")
        assert (row.job_id, row.meta) == ("lot-1", {"exposure_ms": 40})
        assert (row.told, row.problem) == (Decision.UNDECIDED, "deadline-exceeded")


def test_a_repetition_may_tell_what_the_line_was_told(recorder, inspected):
    part, result, attempts = inspected(Decision.OK)
    late = replace(part, submission=replace(part.submission, told=TOLD))

    async def scenario(deadline):
        await writer.record(part, result, attempts, deadline)
        answer = await writer.recall(late, deadline)
        return answer, await writer.find(part.submission.inspection_id)

    writer = recorder()
    answer, row = run(writer, scenario)
    assert (answer.decision, answer.replayed) == (Decision.OK, True)
    assert (row.told, row.found) == (Decision.UNDECIDED, Decision.OK)


def test_what_was_told_is_recorded_although_the_part_cannot_be_inspected(
    journal, recorder, inspected
):
    refused, result, attempts = inspected(QueueFull("full"), told=TOLD, origin=Origin.LATE)
    unknown = part_of(category="nut", told=TOLD, origin=Origin.LATE)

    async def scenario(deadline):
        await writer.record(refused, result, attempts, deadline)
        writer.refuse(unknown, "unknown-category", "no such category")

    writer = recorder()
    run(writer, scenario)
    row = find(journal, refused.submission.inspection_id)
    assert (row.told, row.problem, row.found) == (Decision.UNDECIDED, "queue-full", None)
    assert row.views[0].image_state is MediaState.KEPT
    row = find(journal, unknown.submission.inspection_id)
    assert (row.told, row.source, row.problem) == (
        Decision.UNDECIDED, DecisionSource.CLIENT, "unknown-category",
    )  # fmt: skip


def test_a_later_day_keeps_its_files_where_its_row_says(recorder, media, inspected):
    part, refused, nothing = inspected(UndecodableImage("x"), QueueFull("full"))
    _, result, attempts = inspected(Decision.NG, Decision.NG, part=part)
    long_ago = replace(part.options, received_at=None)

    async def scenario(deadline):
        loop = asyncio.get_running_loop()
        earlier = replace(long_ago, received_at=loop.time() - timedelta(days=3).total_seconds())
        await writer.record(replace(part, options=earlier), refused, nothing, deadline)
        await writer.record(part, result, attempts, deadline)
        return await writer.find(part.submission.inspection_id)

    writer = recorder()
    row = run(writer, scenario)
    assert row.received_at.date() == datetime.now(UTC).date()
    assert media.read(row.views[0].image_sha256, row.received_at.date()) == b"image 0"


# Time and disk


def test_a_write_that_has_not_begun_by_the_deadline_is_withdrawn(journal, recorder, inspected):
    part, result, attempts = inspected(Decision.OK)
    blocked = Blocked()

    async def scenario(_):
        blocking = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        soon = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(DeadlineExceeded, match="not recorded, before its deadline"):
            await writer.record(part, result, attempts, soon)
        blocked.release()
        await blocking

    writer = recorder()
    run(writer, scenario)
    assert find(journal, part.submission.inspection_id) is None


def fill(connection: Connection) -> None:
    """Let SQLite say that the disk is full."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all()


def test_a_part_is_answered_or_refused_while_the_disk_is_full(journal, recorder, inspected):
    journal.write_now(fill)

    async def until_full(writer, deadline):
        for _ in range(1000):
            part, result, attempts = inspected(Decision.OK)
            answer = await writer.record(part, result, attempts, deadline)
            if not answer.archived:
                return part, answer
        raise AssertionError("the disk is never full")

    writer = recorder()
    part, answer = run(writer, lambda deadline: until_full(writer, deadline))
    assert (answer.decision, answer.archived) == (Decision.OK, False)
    assert "the disk is full" in writer.failure
    assert find(journal, part.submission.inspection_id) is None
    strict = recorder(on_failure="refuse")
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        run(strict, lambda deadline: until_full(strict, deadline))


def test_a_part_whose_files_find_no_room_is_recorded_without_them(journal, tmp_path, inspected):
    full = Media(tmp_path / "media", min_free_bytes=2**62)
    writer = Recorder(journal, full, ArchiveSettings(keep_images=SHARES), "NG")
    answer, row = recorded(writer, *inspected(Decision.NG))
    assert answer.archived is True
    (view,) = row.views
    assert (view.image_state, view.map_state) == (MediaState.NO_SPACE, MediaState.NO_SPACE)
    assert view.image_sha256 == hashlib.sha256(b"image 0").hexdigest()


def test_files_of_a_part_are_there_before_its_row(journal, media, inspected):
    """So that a process that is killed in between leaves no row without its files."""
    seen = []

    class Watching:
        async def record(self, inspection, deadline):
            seen.extend(file.path.name for file in media.files())
            raise JournalUnavailable("killed here")

    writer = Recorder(Watching(), media, ArchiveSettings(keep_images=SHARES), "NG")
    part, result, attempts = inspected(Decision.NG)
    run(writer, lambda deadline: writer.record(part, result, attempts, deadline))
    assert sorted(name.partition(".")[2] for name in seen) == ["bin", "map.png"]


# Recorded after the answer


def test_after_the_answer_nobody_waits_but_who_asks_again(journal, recorder, inspected):
    part, result, attempts = inspected(Decision.NG)
    blocked = Blocked()

    async def scenario(deadline):
        blocking = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        answer = await writer.record(part, result, attempts, deadline)
        assert (answer.decision, answer.archived) == (Decision.NG, None)
        soon = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(DeadlineExceeded):
            await writer.recall(part, soon)
        recalling = asyncio.create_task(writer.recall(part, deadline))
        await asyncio.sleep(0.05)
        assert not recalling.done()
        blocked.release()
        await blocking
        return await recalling

    writer = recorder(durability="after_answer")
    again = run(writer, scenario)
    assert (again.decision, again.replayed) == (Decision.NG, True)


def test_after_the_answer_a_bounded_number_of_parts_waits(journal, recorder, inspected):
    blocked = Blocked()
    parts = [inspected(Decision.NG) for _ in range(3)]

    async def scenario(deadline):
        blocking = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        for one in parts[:2]:
            await writer.record(*one, deadline)
        soon = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(DeadlineExceeded):
            await writer.record(*parts[2], soon)
        blocked.release()
        await blocking
        await writer.record(*parts[2], deadline)

    writer = recorder(durability="after_answer", max_pending=2)
    run(writer, scenario)
    # Closing has waited for all of them.
    assert all(find(journal, part.submission.inspection_id) for part, _, _ in parts)


def test_after_the_answer_a_full_disk_is_known_before_the_next(journal, recorder, inspected):
    journal.write_now(fill)

    async def scenario(deadline):
        for _ in range(1000):
            await writer.record(*inspected(Decision.OK), deadline)
            await asyncio.sleep(0.002)
        raise AssertionError("the disk is never full")

    writer = recorder(durability="after_answer", on_failure="refuse")
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        run(writer, scenario)
