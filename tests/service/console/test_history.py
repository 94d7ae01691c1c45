"""History: every search as an address, a part's page, in the browser and without one."""

import html
import re

import pytest
from selenium.webdriver.support.ui import Select

from tests.service.console.browser import foreign
from tests.service.console.test_browser import look
from tests.service.console.test_pages import HOSTILE, HTML

PARTS = 40


@pytest.fixture(scope="module")
def archived(plain, image):
    """Forty parts of two categories at two stations, one of them hostile; newest last."""
    ids = []
    with plain.client() as client:
        for number in range(PARTS):
            fields = {
                "category": "nut" if number % 4 == 0 else "bolt",
                "part_id": f"part-{number:02}",
                "station": f"EL-{number % 2}",
                "origin": "line",
                "job_id": "lot-1",
            }
            answer = client.post("/detect", params=fields, content=image(seed=number))
            ids.append(answer.json()["inspection_id"])
        hostile = {
            "category": "nut", "part_id": HOSTILE, "station": HOSTILE, "job_id": HOSTILE,
            "meta": '{"note": "<script>alert(2)</script>"}', "origin": "line",
        }  # fmt: skip
        answer = client.post("/detect", data=hostile, files={"file": (HOSTILE, image(seed=99))})
        ids.append(answer.json()["inspection_id"])
        verdict = {
            "verdict": "defective",
            "comment": HOSTILE,
            "defect_class": "<b>crack",
            "who": "Ada",
        }
        assert client.put(f"/inspections/{ids[-1]}/verdict", json=verdict).status_code == 200
    return ids


@pytest.fixture
def visitor(plain):
    with plain.client() as client:
        yield client


def shown(page):
    return re.findall(r'class="part" href="/console/parts/([0-9a-f-]+)"', page.text)


@pytest.mark.parametrize(
    "query",
    [
        {"told": "NG"},
        {"found": "OK", "station": "EL-1"},
        {"category": "nut", "verdict": "none"},
        {"verdict": "defective"},
        {"part_id": "part-07"},
        {"job_id": "lot-1", "limit": "50"},
        {"model": "parts/1", "origin": "line"},
        {"min_score": "0.5", "max_score": "0.99"},
        {"is_held": "false", "category": "bolt"},
        {"open_review": "true"},
        {"since": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"},
        {"until": "2020-01-01T00:00:00Z"},
    ],
)
def test_each_search_of_the_archive_is_a_filter(visitor, archived, query):
    page = visitor.get("/console/history", params=query, headers=HTML)
    limit = {"limit": "30", **query}
    found = visitor.get("/inspections", params=limit).json()["inspections"]
    assert shown(page) == [one["inspection_id"] for one in found]


def test_empty_fields_do_not_count_and_times_are_those_of_the_plant(visitor, archived):
    form = {"told": "NG", "category": "", "min_score": "", "since": "2020-01-01T00:00", "until": ""}
    page = visitor.get("/console/history", params=form, headers=HTML)
    assert shown(page) == shown(visitor.get("/console/history?told=NG", headers=HTML))
    assert 'value="2020-01-01T00:00"' in page.text


def test_pages_follow_each_other_without_a_gap(visitor, archived):
    seen, address = [], "/console/history?origin=line"
    while address:
        page = visitor.get(address, headers=HTML)
        seen += shown(page)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        address = html.unescape(older[1]) if older else None
    assert seen[: len(archived)] == archived[::-1]  # others may be older
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    "query", ["told=perhaps", "min_score=7", "since=yesterday", "cursor=x", "color=red"]
)
def test_a_wrong_search_is_explained(visitor, archived, query):
    page = visitor.get(f"/console/history?{query}", headers=HTML)
    assert page.status_code in {400, 422}
    assert "<h1>This did not work</h1>" in page.text


def test_a_part_shows_what_the_archive_knows(visitor, archived):
    page = visitor.get(f"/console/parts/{archived[8]}", headers=HTML)
    for text in ("part-08", "EL-0", "lot-1", "parts/1", archived[8], "encoder"):
        assert text in page.text, text
    assert 'class="verdict state-NG"' in page.text
    near = re.findall(r'class="near [^"]+" href="/console/parts/([0-9a-f-]+)"', page.text)
    assert near == archived[0:17:2]  # of the same station, this one in the middle
    assert page.text.count('aria-current="true"') == 1


def test_pictures_of_a_part_are_kept_by_the_browser(visitor, archived, image):
    address = f"/console/parts/{archived[8]}"
    types = {
        "photo": "image/jpeg",
        "thumbnail": "image/jpeg",
        "heat": "image/png",
        "file": "image/png",
    }
    for name, media_type in types.items():
        answer = visitor.get(f"{address}/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), name
        assert "private" in answer.headers["cache-control"]
    assert visitor.get(f"{address}/file").content == image(seed=8)
    tag = visitor.get(f"{address}/photo").headers["etag"]
    assert visitor.get(f"{address}/photo", headers={"If-None-Match": tag}).status_code == 304
    assert visitor.get(f"{address}/photo?view=3").status_code == 404


def test_hostile_values_are_shown_as_they_are(visitor, archived):
    for address in (
        "/console/history",
        f"/console/parts/{archived[-1]}",
        f"/console/parts/{archived[-3]}",
    ):
        page = visitor.get(address, headers=HTML)
        assert page.status_code == 200
        assert not re.search(r"<script(?![^>]*src=)|<b>crack", page.text)
        if address != f"/console/parts/{archived[-3]}":
            assert HOSTILE in html.unescape(page.text)
    hostile = {"part_id": HOSTILE, "station": HOSTILE}
    page = visitor.get("/console/history", params=hostile, headers=HTML)
    assert shown(page) == archived[-1:]


def test_an_unknown_part_is_not_found(visitor, archived):
    page = visitor.get("/console/parts/0192f0c1-2c3a-7def-8123-456789abcdef", headers=HTML)
    assert page.status_code == 404
    assert "<h1>Not found</h1>" in page.text


def test_history_in_the_browser(browser, plain, archived):
    browser.open(f"{plain.url}/console/history")
    look(browser, "history")
    Select(browser.one("#f-told")).select_by_value("NG")
    browser.one("#f-station").send_keys("EL-0")
    browser.one(".filters button").click()
    browser.until(lambda: "station=EL-0" in browser.driver.current_url, "address of the search")
    assert len(browser.all(".part")) == 10
    assert {badge.text for badge in browser.all(".part .badge")} == {"NG"}
    address = browser.driver.current_url
    browser.open("about:blank")
    browser.open(address)  # as a colleague who was sent it
    assert len(browser.all(".part")) == 10
    browser.one(".part").click()
    browser.one(".nearby")
    browser.until(
        lambda: browser.driver.execute_script(
            "return [...document.querySelectorAll('.near img')].every((one) => one.naturalWidth)"
        ),
        "thumbnails",
    )
    assert browser.text(".verdict h1") == "NG"
    look(browser, "part")
    assert foreign(browser.requests(), plain.url) == []


def test_a_kept_file_that_is_no_image_is_not_asked_for(visitor):
    fields = {"category": "bolt", "part_id": "no-image", "origin": "test"}
    answer = visitor.post("/detect", data=fields, files={"file": ("a.png", b"no image")})
    assert answer.status_code == 415
    page = visitor.get("/console/history", params={"part_id": "no-image", "origin": "test"})
    assert len(shown(page)) == 1
    assert "unreadable" in page.text
    assert "/thumbnail" not in page.text
