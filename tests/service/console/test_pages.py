"""The console's answers: who gets which page, what may change something, what is escaped."""

import html
import re

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.app import create_app
from service.console.pages import STATIC
from service.http.declaration import declared_by
from service.settings import AccessSettings, ConsoleSettings, Settings, VersionSettings
from tests.service.console.conftest import settings_of

HTML = {"Accept": "text/html,*/*"}
HOSTILE = """"><script>alert(1)</script>'{{ 7*7 }}"""


def token_in(page: httpx.Response) -> str:
    return re.search(r'name="token" value="([0-9a-f]+)"', page.text)[1]


def sign_in(client: httpx.Client, secret: str) -> httpx.Response:
    page = client.get("/console/sign-in", headers=HTML)
    return client.post("/console/sign-in", data={"token": token_in(page), "key": secret})


@pytest.fixture
def visitor(plain):
    with plain.client() as client:
        yield client


@pytest.fixture
def stranger(keyed):
    with keyed.client() as client:
        yield client


def console_routes(app):
    return [
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        if declared_by(getattr(route, "endpoint", None)).is_page
        for method in route.methods
    ]


def test_a_page_is_hardened(visitor):
    page = visitor.get("/console/try", headers=HTML)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data: blob:;")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son[a-z]+=", page.text)
    assert not re.search(r'(?:src|href|action)="(?!/|#|data:)', page.text)
    (cookie,) = page.headers.get_list("set-cookie")
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()


def test_frames_are_allowed_by_a_setting(weights, tmp_path):
    console = ConsoleSettings(frame_ancestors=("https://scada.example",))
    app = create_app(Settings(versions=VersionSettings(weights_dir=weights), console=console))
    assert app.state.console.policy.endswith("frame-ancestors https://scada.example")


def test_the_first_load_is_small(visitor):
    page = visitor.get("/console/try", headers=HTML)
    files = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text)
    loaded = [page, *(visitor.get(address) for address in files)]
    assert len(files) >= 4
    assert all(answer.status_code == 200 for answer in loaded)
    assert all("immutable" in answer.headers["cache-control"] for answer in loaded[1:])
    assert sum(len(answer.content) for answer in loaded) < 400_000


def test_a_static_file_is_known_by_its_tag_and_names_lead_nowhere(visitor):
    first = visitor.get("/console/static/console.css")
    again = visitor.get(
        "/console/static/console.css", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (first.content, again.status_code) == ((STATIC / "console.css").read_bytes(), 304)
    for name in ("", "x.css", "..%2fpages.py", "%2e%2e/pages.py", "../pages.py"):
        assert visitor.get(f"/console/static/{name}").status_code in {404, 405}


def test_a_person_without_a_session_is_sent_to_sign_in_and_a_program_gets_401(stranger):
    page = stranger.get("/console/try?category=nut", headers=HTML)
    assert page.status_code == 303
    assert page.headers["location"] == "/console/sign-in?next=%2Fconsole%2Ftry%3Fcategory%3Dnut"
    assert stranger.get("/console/try").headers["content-type"] == "application/problem+json"
    part = stranger.post("/console/try", headers={**HTML, "HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/console/sign-in?next=%2F")
    for shown, then in (
        ("http://127.0.0.1/console/review?station=EL", "%2Fconsole%2Freview%3Fstation%3DEL"),
        ("http://127.0.0.1//evil.example/", "%2F"),
    ):
        current = {**HTML, "HX-Request": "true", "HX-Current-URL": shown}
        part = stranger.post("/console/try", headers=current)
        assert part.headers["hx-redirect"] == f"/console/sign-in?next={then}"


def test_signing_in_and_out(stranger, secrets):
    wrong = sign_in(stranger, "mambaad_wrong")
    assert wrong.status_code == 401
    assert "unknown" in wrong.text
    before = stranger.cookies.jar
    assert sign_in(stranger, secrets["operator"]).headers["location"] == "/"
    assert before
    page = stranger.get("/console/try", headers=HTML)
    assert "operator" in page.text
    out = stranger.post("/console/sign-out", data={"token": token_in(page)})
    assert out.headers["location"] == "/console/sign-in"
    assert stranger.get("/console/try", headers=HTML).status_code == 303


def test_the_sign_in_leads_back_to_this_service_alone(stranger, secrets):
    page = stranger.get("/console/sign-in?next=/console/try%3Fcategory=bolt", headers=HTML)
    assert 'value="/console/try?category=bolt"' in page.text
    for hostile in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:1"):
        form = {"token": token_in(page), "key": secrets["viewer"], "next": hostile}
        answer = stranger.post("/console/sign-in", data=form)
        assert answer.headers["location"] == "/", hostile
        page = stranger.get("/console/sign-in", headers=HTML)


@pytest.mark.parametrize(
    ("name", "status"), [("viewer", 403), ("operator", 200), ("engineer", 200), ("station", 200)]
)
def test_who_may_try(stranger, secrets, name, status):
    sign_in(stranger, secrets[name])
    page = stranger.get("/console/try", headers=HTML)
    assert page.status_code == status
    assert ('href="/console/try"' in page.text) is (status == 200)


def test_no_change_without_the_token(keyed, secrets):
    changes = [route for method, route in console_routes(keyed.app) if method == "POST"]
    assert len(changes) >= 5
    for path in changes:
        with keyed.client() as client:
            sign_in(client, secrets["engineer"])
            address = path.format(category="bolt", name="part-1.png", inspection_id="x")
            for headers in ({}, {"X-CSRF-Token": "0" * 64}):
                answer = client.post(address, headers=headers, data={"token": "1", "key": "x"})
                assert (answer.status_code, path) == (403, path)
                assert answer.json()["type"] == "urn:mambaad:problem:forbidden"


def test_no_page_is_in_the_openapi_document(plain):
    paths = plain.app.openapi()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/console")]


def test_what_comes_from_outside_is_escaped(visitor, image):
    page = visitor.get("/console/try", headers=HTML)
    headers = {"X-CSRF-Token": token_in(page), "HX-Request": "true", **HTML}
    for category, status in (("bolt", 200), (HOSTILE, 404)):
        answer = visitor.post(
            "/console/try",
            headers=headers,
            data={"category": category},
            files={"file": (HOSTILE + ".png", image())},
        )
        assert answer.status_code == status
        assert "<script>" not in answer.text
        assert "<script>alert(1)</script>" in html.unescape(answer.text)
    lost = visitor.get(f"/console/{HOSTILE}", headers=HTML)
    assert lost.status_code == 404
    assert "<script>alert" not in lost.text


def test_a_trial_is_kept_as_a_test_and_counted_nowhere(plain, visitor, image):
    def parts(origin):
        found = visitor.get("/inspections", params={"origin": origin, "limit": 500}).json()
        return len(found["inspections"])

    def counted():
        summary = visitor.get("/inspections/summary").json()["counts"]
        return parts("line"), parts("late"), plain.metric("mambaad_decisions_total"), summary

    before, tests = counted(), parts("test")
    page = visitor.get("/console/try", headers=HTML)
    answer = visitor.post(
        "/console/try",
        headers={"X-CSRF-Token": token_in(page)},
        data={"category": "nut"},
        files={"file": ("part.png", image(seed=77))},
    )
    assert answer.status_code == 200
    assert 'class="verdict state-NG"' in answer.text
    assert counted() == before
    assert parts("test") == tests + 1


def test_an_image_that_is_none_is_an_input_problem(visitor):
    page = visitor.get("/console/try", headers=HTML)
    answer = visitor.post(
        "/console/try",
        headers={"X-CSRF-Token": token_in(page)},
        data={"category": "nut"},
        files={"file": ("part.png", b"no image")},
    )
    assert 'class="verdict state-INPUT"' in answer.text


def test_a_signed_in_person_on_a_wrong_path_is_not_asked_for_a_key(stranger, secrets):
    assert sign_in(stranger, secrets["engineer"]).status_code == 303
    for path in ("/console/nonsense", "/console//live", "/console/models/versions/a/1/x/report"):
        page = stranger.get(path, headers=HTML)
        assert page.status_code == 404, path
        assert html.escape(path) in page.text
    assert "session has ended" not in stranger.get("/console/sign-in", headers=HTML).text
    stranger.cookies.clear()
    assert stranger.get("/console/nonsense", headers=HTML).status_code == 303


def test_an_old_token_is_no_matter_of_rights(stranger, secrets):
    old = token_in(stranger.get("/console/sign-in", headers=HTML))
    assert sign_in(stranger, secrets["engineer"]).status_code == 303
    form = {"token": old, "reason": "x"}
    page = stranger.post("/console/system/keys/viewer/withdraw", data=form, headers=HTML)
    assert page.status_code == 403
    assert "This page is older than your session" in page.text
    assert "Your key does not allow" not in page.text
    assert sign_in(stranger, secrets["viewer"]).status_code == 303
    page = stranger.get("/console/system/keys", headers=HTML)
    assert "Your key does not allow" in page.text
    assert "older than your session" not in page.text


def test_without_the_console_there_is_no_page(weights, tmp_path):
    settings = settings_of(weights, tmp_path, tmp_path, console=ConsoleSettings(enabled=False))
    app = create_app(settings)
    assert console_routes(app) == []
    app.state.archive.journal.close()


def test_keys_with_anonymous_callers_leave_them_the_trial_alone(
    weights, tmp_path, keys_file, secrets
):
    access = AccessSettings(api_keys_file=keys_file, allow_anonymous=True)
    settings = Settings(versions=VersionSettings(weights_dir=weights), access=access)
    app = create_app(settings)
    assert app.state.console.sessions.has_keys
