"""Images and heatmaps of archived views: the right picture, or the reason why there is none."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.inspection import Decision
from service.archive.records import MediaState
from service.inspection.images.maps import write_map
from tests.service.api.inspections.conftest import BEGIN
from tests.service.line import RAMP

SIZE = (96, 48)
REGION = {
    "x": 8, "y": 20, "width": 60, "height": 20, "area_px": 700,
    "peak": {"x": 30, "y": 30}, "peak_score": 0.9,
}  # fmt: skip


@pytest.fixture
def content(image):
    return image(*SIZE)


@pytest.fixture
def record(archived, content):
    """A part that was inspected; its map is the one that `Line` answers with."""
    size = {"width": SIZE[0], "height": SIZE[1], "image_bytes": len(content)}
    view = archived.view(content, write_map(RAMP), **size)
    return archived.put(views=(view,), told=Decision.NG)


def path_of(record, noun, **query):
    given = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/inspections/{record.inspection_id}/{noun}?{given}"


def file_of(archived, sha256):
    (file,) = archived.media.folder.rglob(f"{sha256}.*")
    return file


def pixels(content):
    return np.asarray(Image.open(BytesIO(content))).astype(int)


def test_the_image_is_the_posted_file(archived, record, content):
    response = archived.get(path_of(record, "image"))
    assert (response.status_code, response.content) == (200, content)
    sha256 = record.views[0].image_sha256
    name = f"{record.inspection_id}-0.png"
    assert {name: response.headers[name] for name in (
        "content-type", "etag", "cache-control", "content-disposition", "x-content-type-options"
    )} == {
        "content-type": "image/png", "etag": f'"{sha256}"',
        "cache-control": "private, max-age=3600",
        "content-disposition": f'inline; filename="{name}"', "x-content-type-options": "nosniff",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", "image/jpeg"), ("BMP", "image/bmp"), ("TIFF", "image/tiff"), ("WEBP", "image/webp")],
)
def test_the_type_is_that_of_the_content(archived, image, kind, media_type):
    record = archived.put(views=(archived.view(image(8, 8, kind), filename="a.html"),))
    response = archived.get(path_of(record, "image"))
    assert response.headers["content-type"] == media_type


def test_a_file_of_unknown_format_is_never_a_page(archived):
    record = archived.put(views=(archived.view(b"<script>alert(1)</script>", filename="a.html"),))
    response = archived.get(path_of(record, "image"))
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_an_unchanged_picture_is_not_sent_again(archived, record):
    for noun, query in (("image", {}), ("heatmap", {"kind": "mask"})):
        path = path_of(record, noun, **query)
        tag = archived.get(path).headers["etag"]
        for given in (tag, f'"x", W/{tag}'):
            again = archived.get(path, headers={"If-None-Match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert archived.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    tags = {
        archived.get(path_of(record, "heatmap", kind=k)).headers["etag"] for k in ("map", "mask")
    }
    assert len(tags) == 2


@pytest.mark.parametrize("kind", ["map", "mask", "overlay"])
def test_a_heatmap_is_what_was_answered(archived, record, content, kind):
    answer = archived.ask(
        "POST", f"/detect?category=nut&heatmap={kind}", "detect", content=content
    ).json()
    answered = pixels(base64.b64decode(answer["results"][0]["heatmap"]))
    response = archived.get(path_of(record, "heatmap", kind=kind))
    assert response.headers["content-type"] == "image/png"
    drawn = pixels(response.content)
    assert drawn.shape == answered.shape
    if kind == "mask":
        assert np.count_nonzero(drawn != answered) == 0
    else:
        assert np.abs(drawn - answered).max() <= 1
    assert len(np.unique(drawn)) > 1


def test_regions_are_drawn_again_too(archived, record, content):
    view = replace(record.views[0], regions=[REGION])
    with_box = archived.put(views=(view,))
    plain = pixels(archived.get(path_of(record, "heatmap", kind="overlay")).content)
    boxed = pixels(archived.get(path_of(with_box, "heatmap", kind="overlay")).content)
    changed = np.argwhere((plain != boxed).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert (left, top, right, bottom) == (7, 19, 68, 40)


def test_each_view_has_its_own(archived, image):
    contents = [image(8, 8, seed=seed) for seed in range(3)]
    views = [archived.view(content, write_map(RAMP * n / 3), width=8, height=8)
             for n, content in enumerate(contents)]  # fmt: skip
    record = archived.put(views=views)
    for number, content in enumerate(contents):
        assert archived.get(path_of(record, "image", view=number)).content == content
    brightest = [
        pixels(archived.get(path_of(record, "heatmap", view=n)).content).max() for n in range(3)
    ]
    assert brightest == sorted(brightest)
    assert brightest[0] == 0


@pytest.mark.parametrize("noun", ["image", "heatmap"])
def test_views_that_are_not_there(archived, record, problem, noun):
    response = archived.get(path_of(record, noun, view=1))
    detail = problem(response, 404, "unknown-inspection")["detail"]
    assert "has 1 views, counted from 0; got view=1" in detail
    for view in ("-1", "10000", "x", "1e9"):
        problem(archived.get(path_of(record, noun, view=view)), 422, "invalid-request")


@pytest.mark.parametrize("kind", ["none", "raw", "rainbow", ""])
def test_other_kinds_are_refused(archived, record, problem, kind):
    response = archived.get(path_of(record, "heatmap", kind=kind))
    assert "'map', 'overlay' or 'mask'" in problem(response, 422, "invalid-request")["detail"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (MediaState.NOT_SAMPLED, "MAMBAAD_ARCHIVE__KEEP_IMAGES keeps a share"),
        (MediaState.NO_SPACE, "too little free space"),
        (MediaState.MISSING, "does not exist"),
    ],
)
def test_a_file_that_was_never_kept_has_a_reason(archived, record, problem, state, said):
    archived.change(record, image_state=state, map_state=state)
    for noun, query in (("image", {}), ("heatmap", {})):
        response = archived.get(path_of(record, noun, **query))
        assert said in problem(response, 404, "media-not-kept")["detail"]


def test_a_deleted_file_has_the_time_of_its_deletion(archived, record, problem):
    moment = datetime(2026, 12, 29, 3, 0, 12, tzinfo=UTC)
    archived.change(record, image_state=MediaState.DELETED, image_deleted_at=moment)
    response = archived.get(path_of(record, "image"))
    detail = problem(response, 410, "media-deleted")["detail"]
    assert detail == "the image of view 0 was deleted at 2026-12-29T03:00:12Z"
    assert archived.get(path_of(record, "heatmap", kind="mask")).status_code == 200
    problem(archived.get(path_of(record, "heatmap", kind="overlay")), 410, "media-deleted")
    tag = f'"{record.views[0].image_sha256}"'
    gone = archived.get(path_of(record, "image"), headers={"If-None-Match": tag})
    assert gone.status_code == 410


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"another picture"), "was altered"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "was altered"),
        (lambda file: file.unlink(), "is gone, though nobody deleted it"),
        (lambda file: (file.unlink(), file.symlink_to("/etc/hostname")), "was altered"),
        (lambda file: (file.unlink(), file.mkdir()), "was altered or cannot be read"),
    ],
)
def test_an_altered_or_missing_file_is_refused(archived, record, problem, spoil, said):
    for medium, noun in (("image", "image"), ("map", "heatmap")):
        spoil(file_of(archived, getattr(record.views[0], f"{medium}_sha256")))
        response = archived.get(path_of(record, noun))
        detail = problem(response, 409, "media-damaged")["detail"]
        assert said in detail
        assert "mambaad archive check" in detail


def test_a_file_that_the_retention_deletes_meanwhile_was_deleted(
    archived, record, problem, monkeypatch
):
    read = archived.media.read

    def delete_first(*asked):
        moment = datetime(2026, 12, 29, 3, tzinfo=UTC)
        archived.change(record, image_state=MediaState.DELETED, image_deleted_at=moment)
        archived.media.path(asked[0], BEGIN.date(), "png").unlink()
        return read(*asked)

    monkeypatch.setattr(archived.media, "read", delete_first)
    problem(archived.get(path_of(record, "image")), 410, "media-deleted")


def test_files_of_another_node_name_it(archived, problem):
    view = archived.view(b"x", write_map(RAMP), width=8, height=8)
    record = archived.put(node="line-2", views=(view,))
    for noun in ("image", "heatmap"):
        body = problem(archived.get(path_of(record, noun)), 409, "on-other-node")
        assert body["node"] == "line-2"
        assert "on the node 'line-2': ask that service" in body["detail"]


def test_pictures_are_for_readers(archived, record, problem):
    for noun in ("image", "heatmap"):
        problem(archived.get(path_of(record, noun), key="detect"), 403, "forbidden")
        assert archived.get(path_of(record, noun), key="read").status_code == 200


def test_pictures_take_memory_that_all_requests_share(archived, record, problem):
    budget = archived.line.app.state.body_budget
    free = budget.max_inflight_bytes
    budget.max_inflight_bytes = budget.held_bytes + 100
    for path in (path_of(record, "image"), path_of(record, "heatmap", kind="overlay")):
        problem(archived.get(path), 503, "bodies-full")
    budget.max_inflight_bytes = free
    assert archived.get(path_of(record, "image")).status_code == 200
    assert budget.held_bytes == 0
    budget.max_bytes = 100
    problem(archived.get(path_of(record, "image")), 413, "answer-too-large")
