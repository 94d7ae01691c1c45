"""Review: the queue, verdicts and their undo, two people at once, roles, hostile names."""

import html
import itertools
import re
from datetime import UTC, datetime

import pytest

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.records import DecisionSource, InspectionRecord
from service.archive.searching import judging
from service.archive.searching.sampling import is_sampled
from service.archive.sqlite.recording import record_all
from service.console.review.claims import Claims
from tests.service.console.test_pages import HOSTILE, HTML, sign_in, token_in

PAGE = "/console/review"
numbers = itertools.count()


@pytest.fixture
def station():
    """A station of this test alone."""
    return f"RV-{next(numbers)}"


@pytest.fixture
def visitor(plain):
    """Ada, who has said her name."""
    with plain.client() as client:
        yield say_name(client, "Ada")


@pytest.fixture
def colleague(plain):
    with plain.client() as client:
        yield say_name(client, "Bob")


@pytest.fixture
def put(plain, station, image):
    """Inspect parts at the station; return their ids, the oldest first."""

    def inspect(*categories, **fields):
        with plain.client() as client:
            answers = [
                client.post(
                    "/detect",
                    data={"category": category, "station": station, "origin": "line", **fields},
                    files={"file": ("part.png", image(seed=number))},
                )
                for number, category in enumerate(categories)
            ]
        return [answer.json()["inspection_id"] for answer in answers]

    return inspect


def say_name(client, name):
    page = client.get(PAGE, headers=HTML)
    form = {"token": token_in(page), "who": name, "next": PAGE}
    assert client.post(f"{PAGE}/name", data=form).status_code == 303
    return client


def look(client, station, **query):
    return client.get(PAGE, params={"station": station, **query}, headers=HTML)


def shown(page):
    """Return the id of the part that a page shows; "" if none waits."""
    assert page.status_code == 200, page.text
    return re.search(r'id="part-shown" data-part="([0-9a-f-]*)"', page.text)[1]


def field(page, name):
    return html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page.text)[1])


def press(client, page, action="verdict", part=None, **values):
    """Send the form of a page, as htmx does."""
    names = ("category", "station", "order", "trail", "seen")
    given = {name: field(page, name) for name in names if f'name="{name}"' in page.text}
    headers = {"HX-Request": "true", "X-CSRF-Token": client.token, **HTML}
    address = f"{PAGE}/{part or shown(page)}/{action}"
    return client.post(address, headers=headers, data={**given, **values})


@pytest.fixture(autouse=True)
def tokens(visitor, colleague):
    for client in (visitor, colleague):
        client.token = token_in(client.get(PAGE, headers=HTML))


def archived(client, identifier):
    return client.get(f"/inspections/{identifier}").json()


def verdicts_of(client, identifier):
    return [(one["verdict"], one["author"]) for one in archived(client, identifier)["verdicts"]]


def test_a_person_without_a_key_says_a_name_once(plain):
    with plain.client() as client:
        page = client.get(f"{PAGE}?station=S%201", headers=HTML)
        assert 'name="who"' in page.text
        form = {"token": token_in(page), "who": " Änne \u4e2d ", "next": f"{PAGE}?station=S+1"}
        answer = client.post(f"{PAGE}/name", data=form)
        assert answer.headers["location"] == f"{PAGE}?station=S+1"
        assert 'name="who"' not in client.get(PAGE, headers=HTML).text
        refused = client.post(f"{PAGE}/name", data={**form, "who": " "}, headers=HTML)
        assert refused.status_code == 422


def test_the_newest_or_the_oldest_comes_first(visitor, station, put):
    first, _, last = put("nut", "nut", "nut")
    put("bolt")  # OK, and in the sample only by chance
    assert shown(look(visitor, station)) == last
    page = look(visitor, station, order="oldest")
    assert shown(page) == first
    assert "3 wait" in page.text
    assert shown(look(visitor, station, category="bolt")) in {"", *put("bolt")}


def test_a_sample_of_good_parts_follows(plain, visitor, station, put):
    share = plain.app.state.console.settings.review_share
    sampled = next(one for one in (new_id() for _ in itertools.count()) if is_sampled(one, share))
    other = next(one for one in (new_id() for _ in itertools.count()) if not is_sampled(one, share))
    put("bolt", inspection_id=str(other))
    put("bolt", inspection_id=str(sampled))
    (rejected,) = put("nut")
    page = look(visitor, station)
    assert shown(page) == rejected
    page = press(visitor, page, verdict="defective")
    assert shown(page) == str(sampled)
    assert "Sample of OK parts: 1 to judge" in page.text
    page = press(visitor, page, verdict="good")
    assert shown(page) == ""
    assert "Nothing waits for a person." in page.text


def test_a_verdict_leads_to_the_next_part_and_its_image_is_loaded_before(visitor, station, put):
    first, second, third = put("nut", "nut", "nut", part_id="cell 7")
    page = look(visitor, station, order="oldest")
    assert f'data-preload="/console/parts/{second}/photo?view=0"' in page.text
    assert visitor.get(f"/console/parts/{second}/photo?view=0").status_code == 200
    page = press(visitor, page, verdict="defective", defect_class="crack", comment="upper edge")
    assert shown(page) == second
    assert "cell 7" in page.text
    (given,) = archived(visitor, first)["verdicts"]
    assert (given["verdict"], given["defect_class"], given["comment"], given["author"]) == (
        "defective", "crack", "upper edge", "Ada (anonymous@127.0.0.1)",
    )  # fmt: skip
    assert 'name="class" value="crack"' in page.text
    page = press(visitor, page, **{"class": "crack"})
    (given,) = archived(visitor, second)["verdicts"]
    assert (given["verdict"], given["defect_class"]) == ("defective", "crack")
    page = press(visitor, page, verdict="unsure", defect_class="left in the field")
    assert archived(visitor, third)["verdicts"][0]["defect_class"] is None
    assert shown(page) == ""


def test_a_person_goes_back_and_changes_a_verdict(visitor, station, put):
    first, second = put("nut", "nut")
    page = press(visitor, look(visitor, station, order="oldest"), verdict="good")
    back = html.unescape(re.search(r'data-key="b" hx-get="([^"]+)"', page.text)[1])
    page = visitor.get(back, headers={"HX-Request": "true", **HTML})
    assert shown(page) == first
    assert "Verdict: <strong>good" in page.text
    page = press(visitor, page, verdict="defective")
    assert shown(page) == second
    assert [verdict for verdict, _ in verdicts_of(visitor, first)] == ["defective", "good"]
    forward = visitor.get(back, headers={"HX-Request": "true", **HTML})
    forward = html.unescape(re.search(r'data-key="n" hx-get="([^"]+)"', forward.text)[1])
    assert shown(visitor.get(forward, headers={"HX-Request": "true", **HTML})) == second


def test_an_undone_verdict_is_withdrawn_and_the_part_waits_again(visitor, station, put):
    first, _ = put("nut", "nut")
    page = press(visitor, look(visitor, station, order="oldest"), verdict="good")
    assert archived(visitor, first)["verdict"] == "good"
    page = press(visitor, page, "withdrawal", part=first)
    assert shown(page) == first
    assert "Withdrawn: nobody has judged this part now." in page.text
    assert archived(visitor, first)["verdict"] is None
    assert shown(look(visitor, station, order="oldest")) == first
    author = "Ada (anonymous@127.0.0.1)"
    assert verdicts_of(visitor, first) == [("withdrawn", author), ("good", author)]
    part = visitor.get(f"/console/parts/{first}", headers=HTML).text
    assert part.index("verdict withdrawn") < part.index("<strong>good</strong>")
    press(visitor, page, verdict="defective")
    assert archived(visitor, first)["verdict"] == "defective"


def test_two_people_get_different_parts_and_overwrite_nothing(visitor, colleague, station, put):
    put("nut", "nut", "nut")
    page, other = look(visitor, station), look(colleague, station)
    assert shown(page) != shown(other)
    identifier = shown(page)
    colleague.put(f"/inspections/{identifier}/verdict", json={"verdict": "good", "who": "Eve"})
    answer = press(visitor, page, verdict="defective")
    assert verdicts_of(visitor, identifier) == [("good", "Eve (anonymous@127.0.0.1)")]
    assert "Somebody has judged this part meanwhile" in answer.text
    assert "Eve (anonymous@127.0.0.1)" in answer.text
    assert shown(answer) not in {identifier, ""}
    again = press(visitor, page, verdict="good")
    assert "Somebody has judged" in again.text
    refused = press(visitor, answer, "withdrawal", part=identifier)
    assert "Somebody has judged" in refused.text
    assert archived(visitor, identifier)["verdict"] == "good"


def test_the_last_part_is_shown_to_both_rather_than_to_nobody(visitor, colleague, station, put):
    (identifier,) = put("nut")
    assert shown(look(visitor, station)) == shown(look(colleague, station)) == identifier


def test_a_repeated_click_is_stored_once(visitor, station, put):
    (identifier,) = put("nut")
    page = look(visitor, station)
    for _ in range(2):
        assert "Judged:" in press(visitor, page, verdict="good").text
    assert len(verdicts_of(visitor, identifier)) == 1


def test_a_score_is_hidden_until_the_part_is_judged(visitor, station, put):
    (identifier,) = put("nut")
    assert "<strong>Score" in look(visitor, station).text
    form = {"token": visitor.token, "hide": "yes", "next": f"{PAGE}?station={station}"}
    assert visitor.post(f"{PAGE}/hiding", data=form).status_code == 303
    page = look(visitor, station)
    assert "The score is hidden until the part is judged." in page.text
    assert not re.search(r"<strong>Score|class=\"score|>threshold|· threshold", page.text)
    score = archived(visitor, identifier)["score"]
    answer = press(visitor, page, verdict="good")
    assert f"score {score:.3f}" in answer.text
    visitor.post(f"{PAGE}/hiding", data={"token": visitor.token, "next": PAGE})
    assert "hidden until" not in look(visitor, station).text


def test_hostile_names_are_shown_as_they_are(visitor, station, put):
    first, second = put("nut", "nut", part_id=HOSTILE, job_id=HOSTILE)
    who = {"token": visitor.token, "who": HOSTILE, "next": PAGE}
    visitor.post(f"{PAGE}/name", data=who)
    page = press(
        visitor, look(visitor, station), verdict="defective", defect_class=HOSTILE, comment=HOSTILE
    )
    assert shown(page) == first
    pages = [page, look(visitor, station), visitor.get(f"/console/parts/{second}", headers=HTML)]
    pages.append(look(visitor, HOSTILE, category=HOSTILE))
    for answer in pages:
        assert answer.status_code == 200
        assert not re.search(r"<script(?![^>]*src=)", answer.text)
        assert HOSTILE in html.unescape(answer.text)
        assert "49" not in re.findall(r"\{\{.*?\}\}", answer.text)
    (given,) = archived(visitor, second)["verdicts"]
    assert (given["defect_class"], given["author"]) == (HOSTILE, f"{HOSTILE} (anonymous@127.0.0.1)")


@pytest.mark.parametrize(
    ("address", "form", "status"),
    [
        ("0192f0c1-2c3a-7def-8123-456789abcdef/verdict", {"verdict": "good"}, 200),
        ("0192f0c1-2c3a-7def-8123-456789abcdef/withdrawal", {}, 200),
        ("x/verdict", {"verdict": "good"}, 422),
        ("0192f0c1-2c3a-7def-8123-456789abcdef/verdict", {"verdict": "fine"}, 422),
        ("0192f0c1-2c3a-7def-8123-456789abcdef/verdict", {"verdict": "good", "seen": "x"}, 422),
    ],
)
def test_a_wrong_request_judges_nothing(visitor, station, address, form, status):
    headers = {"HX-Request": "true", "X-CSRF-Token": visitor.token, **HTML}
    answer = visitor.post(f"{PAGE}/{address}", data={"station": station, **form}, headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert "The archive does not have this part any more." in answer.text


def test_a_parts_page_takes_verdicts_and_holds(visitor, put):
    (identifier,) = put("nut")
    address = f"/console/parts/{identifier}"
    page = visitor.get(address, headers=HTML)

    def send(action, **values):
        form = {"token": token_in(page), **values}
        answer = visitor.post(f"{address}/{action}", data=form, headers=HTML)
        assert answer.status_code == 303, answer.text
        return visitor.get(answer.headers["location"], headers=HTML)

    after = send("verdict", verdict="good", seen="")
    assert verdicts_of(visitor, identifier) == [("good", "Ada (anonymous@127.0.0.1)")]
    overtaken = send("verdict", verdict="defective", seen="")
    assert "Somebody has judged this part meanwhile" in overtaken.text
    assert len(verdicts_of(visitor, identifier)) == 1
    after = send("verdict", verdict="withdrawn", seen=field(after, "seen"))
    assert archived(visitor, identifier)["verdict"] is None
    assert "verdict withdrawn" in after.text
    held = send("hold", held="true", reason="audit")
    assert archived(visitor, identifier)["is_held"]
    assert "audit" in held.text
    send("hold", held=field(held, "held"))
    assert not archived(visitor, identifier)["is_held"]


def test_a_parts_page_asks_for_a_name_where_nobody_said_one(plain, put):
    (identifier,) = put("nut")
    with plain.client() as client:
        page = client.get(f"/console/parts/{identifier}", headers=HTML)
        assert 'name="who"' in page.text
        form = {"token": token_in(page), "verdict": "good", "seen": ""}
        address = f"/console/parts/{identifier}/verdict"
        assert client.post(address, data=form, headers=HTML).status_code == 422
        assert client.post(address, data={**form, "who": "Cy"}, headers=HTML).status_code == 303
        assert verdicts_of(client, identifier) == [("good", "Cy (anonymous@127.0.0.1)")]
        assert 'name="who"' not in client.get(f"/console/parts/{identifier}", headers=HTML).text


@pytest.mark.parametrize(
    ("name", "status"), [("viewer", 403), ("station", 403), ("operator", 200), ("engineer", 200)]
)
def test_who_may_review(keyed, secrets, rejected, name, status):
    with keyed.client() as client:
        sign_in(client, secrets[name])
        page = client.get(PAGE, headers=HTML)
        assert page.status_code == status
        assert ('href="/console/review"' in page.text) is (status == 200)
        token = token_in(page) if 'name="token"' in page.text else ""
        headers = {"X-CSRF-Token": token, "HX-Request": "true"}
        before = rejected()
        for action in ("review/{}/verdict", "review/{}/withdrawal", "parts/{}/hold"):
            address = f"/console/{action.format(before.inspection_id)}"
            answer = client.post(address, headers=headers, data={"verdict": "good"})
            assert answer.status_code in ({status} if status == 403 else {200, 303}), address
        if status == 403:
            assert rejected() == before
        if name == "viewer":
            part = client.get(f"/console/parts/{before.inspection_id}", headers=HTML)
            assert part.status_code == 200
            assert 'name="verdict"' not in part.text


def test_an_operator_lands_on_review_while_a_part_waits(keyed, secrets, rejected):
    assert rejected().verdict is None
    with keyed.client() as client:
        for name, page in (("operator", "review"), ("engineer", "live"), ("viewer", "live")):
            sign_in(client, secrets[name])
            assert client.get("/", headers=HTML).headers["location"] == f"/console/{page}"
        sign_in(client, secrets["operator"])
        page = client.get(PAGE, headers=HTML)
        client.token = token_in(page)
        while shown(page):
            page = press(client, page, verdict="good")
        assert rejected().verdict.value == "good"
        with keyed.app.state.archive.journal.reading() as connection:
            (given,) = judging.verdicts_of(connection, rejected().inspection_id)
        assert given.author == "operator"
        assert client.get("/", headers=HTML).headers["location"] == "/console/live"


@pytest.fixture
def rejected(keyed):
    """A rejected part in the journal of the service with keys; reads it again."""
    journal = keyed.app.state.archive.journal
    record = InspectionRecord(
        new_id(), datetime.now(UTC), "bolt", Decision.NG, DecisionSource.NETWORK, score=0.7
    )
    node = keyed.app.state.inspections.node
    journal.write_now(lambda connection: record_all(connection, node, [record]))

    def read():
        with journal.reading() as connection:
            return store.find(connection, record.inspection_id)

    return read


def test_claims_end_by_themselves():
    now = 0.0
    claims = Claims(lambda: now)
    one, two = new_id(), new_id()
    claims.take("a", [one, two])
    assert claims.of_others("b") == {one, two}
    assert claims.of_others("a") == set()
    claims.take("a", [two])
    assert claims.of_others("b") == {two}
    now = 91.0
    assert claims.of_others("b") == set()
