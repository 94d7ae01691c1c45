"""Who sees which page, in a real browser: roles, sign-in and its end, other sites, TLS."""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from service.access.keys import add_key, remove_key
from service.console.pages import TEMPLATES
from service.http.declaration import Scope
from service.settings import AccessSettings, HttpSettings
from tests.certificates import write_pair
from tests.service.conftest import running
from tests.service.console.conftest import settings_of
from tests.service.console.test_pages import HTML, console_routes, sign_in

PAGES_BY_ROLE = {
    "viewer": {"live", "history", "thresholds"},
    "operator": {"live", "history", "review", "thresholds", "try"},
    "engineer": {"live", "history", "review", "thresholds", "models", "system", "try"},
    "station": {"try"},
}
"""The menu of each key, and the only pages that it opens."""

ENTRIES = set(re.findall(r'entry\("(\w+)"', (TEMPLATES / "base.html").read_text("utf-8")))


@pytest.fixture(scope="module")
def encrypted(weights, tmp_path_factory, samples_dir, keys_file, secrets):
    """A service that needs keys, over TLS."""
    pair = write_pair(tmp_path_factory.mktemp("tls"))
    rooms = {
        "access": AccessSettings(api_keys_file=keys_file),
        "http": HttpSettings(shutdown_grace_s=0, **pair.settings),
    }
    settings = settings_of(weights, tmp_path_factory.mktemp("encrypted"), samples_dir)
    with running(settings.model_copy(update=rooms)) as server:
        yield server


def enter(browser, server, secret, path="/console"):
    """Sign in with a key, from the page that the browser was sent to."""
    browser.open(server.url + path)
    answer_sign_in(browser, secret)


def answer_sign_in(browser, secret):
    browser.one("#key").send_keys(secret)
    browser.one("#key").submit()
    browser.until(lambda: not browser.all("#key"), "page after the sign-in")


def menu(browser):
    links = [link.get_attribute("href") for link in browser.all("nav a")]
    return {link.rpartition("/console/")[2] for link in links}


def refusals(browser):
    """Return the browser's errors except those of requests that a test wants refused."""
    return [line for line in browser.errors() if not re.search(r"status of 40[13]\b", line)]


def test_the_table_has_every_entry_of_the_menu():
    assert PAGES_BY_ROLE["engineer"] == ENTRIES


@pytest.mark.parametrize("role", PAGES_BY_ROLE)
def test_each_role_opens_the_pages_of_its_menu_and_no_other(browser, keyed, secrets, role):
    built = {path for _, path in console_routes(keyed.app)}
    enter(browser, keyed, secrets[role])
    assert menu(browser) == PAGES_BY_ROLE[role]
    assert browser.text(".menu-name") == role
    with keyed.client() as client:
        assert sign_in(client, secrets[role]).status_code == 303
        for name in sorted(ENTRIES):
            if f"/console/{name}" not in built:
                continue
            page = client.get(f"/console/{name}", headers=HTML)
            is_allowed = name in PAGES_BY_ROLE[role]
            assert page.status_code == (200 if is_allowed else 403), name
    hidden = sorted(n for n in ENTRIES - PAGES_BY_ROLE[role] if f"/console/{n}" in built)
    for name in hidden[:1]:
        browser.open(f"{keyed.url}/console/{name}")
        assert role in browser.text("main")
        assert menu(browser) == PAGES_BY_ROLE[role]
    assert refusals(browser) == []


def test_over_tls_an_engineer_works_and_choices_outlive_the_session(browser, encrypted, secrets):
    enter(browser, encrypted, secrets["engineer"], "/console/try?category=nut")
    assert browser.driver.current_url == f"{encrypted.url}/console/try?category=nut"
    cookies = browser.driver.get_cookies()
    assert cookies
    assert all(cookie["secure"] and cookie["httpOnly"] for cookie in cookies)
    assert browser.driver.execute_script("return window.isSecureContext")
    browser.one("#camera-on").click()
    browser.until(lambda: browser.one("#camera-live").is_displayed(), "camera")
    browser.one("#camera-off").click()
    browser.one(".menu summary").click()
    Select(browser.one("#choose-language")).select_by_value("de")
    Select(browser.one("#choose-theme")).select_by_value("dark")
    browser.one(".panel button").click()
    browser.until(lambda: browser.text("h1") == "Ein Bild ausprobieren", "German")
    browser.one(".menu summary").click()
    browser.driver.find_element(By.CSS_SELECTOR, "form[action$=sign-out] button").click()
    browser.until(lambda: browser.all("#key"), "sign-in")
    assert browser.one("html").get_attribute("data-theme") == "dark"
    assert browser.one("html").get_attribute("lang") == "de"
    browser.open(f"{encrypted.url}/console/live")
    assert browser.one("#key")


def test_on_another_address_without_tls_the_page_says_why_there_is_no_camera(
    browser, keyed, secrets
):
    """The browser finds the name on this machine, but does not trust the address for that."""
    url = keyed.url.replace("127.0.0.1", "line-7.test")
    browser.open(f"{url}/console/try")
    answer_sign_in(browser, secrets["operator"])
    assert not browser.driver.execute_script("return window.isSecureContext")
    assert "The camera needs HTTPS or localhost" in browser.text("#camera-needs")
    assert not browser.one("#camera-on").is_displayed()
    browser.shoot("try-no-camera")
    browser.errors()  # the browser warns of the same


def test_who_may_change_something_is_signed_out_when_idle_and_a_screen_is_not(
    browser, keyed, secrets, monkeypatch
):
    sessions = keyed.app.state.console.sessions
    late_s = keyed.settings.console.idle_timeout_s + 5
    enter(browser, keyed, secrets["engineer"], "/console/try?category=nut")
    monkeypatch.setattr(sessions, "_clock", lambda: time.time() + late_s)
    browser.one(".brand").click()
    assert browser.one("#key")
    browser.open(f"{keyed.url}/console/try?category=nut")
    answer_sign_in(browser, secrets["engineer"])
    assert browser.driver.current_url.endswith("/console/try?category=nut")
    browser.clear()
    enter(browser, keyed, secrets["viewer"], "/console/live")
    monkeypatch.setattr(sessions, "_clock", lambda: time.time() + 2 * late_s)
    browser.driver.refresh()
    assert browser.text(".menu-name") == "viewer"
    browser.until(lambda: browser.all("[data-link=live]"), "live page")


def test_a_withdrawn_key_ends_the_page_that_is_open(browser, keyed, keys_file, monkeypatch):
    monkeypatch.setattr("service.console.live._BEAT_S", 0.1)
    secret = add_key(keys_file, "leaver", [Scope.READ])
    deadline = time.monotonic() + 60
    with keyed.client() as client:
        while sign_in(client, secret).status_code != 303:  # the file is read each second
            assert time.monotonic() < deadline
            time.sleep(0.1)
    enter(browser, keyed, secret, "/console/live")
    browser.until(lambda: browser.all("[data-link=live]"), "live page")
    remove_key(keys_file, "leaver")
    ended = browser.one("[data-link=ended]")
    browser.until(ended.is_displayed, "the word that the session has ended")
    ended.find_element(By.CSS_SELECTOR, "a").click()
    secret = add_key(keys_file, "comer", [Scope.READ])
    time.sleep(2.1)  # the file is read each second
    answer_sign_in(browser, secret)
    assert browser.driver.current_url.endswith("/console/live")
    remove_key(keys_file, "comer")
    assert refusals(browser) == []


def test_a_form_of_another_site_changes_nothing(browser, keyed, secrets):
    """A site on another port of this machine gets the cookies sent, but has no token."""

    class Trap(BaseHTTPRequestHandler):
        def do_GET(self):
            form = f'<form method="post" action="{keyed.url}/console/sign-out"><button>Win</button>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(form.encode())

        def log_message(self, *_):
            pass

    enter(browser, keyed, secrets["operator"], "/console/try")
    with ThreadingHTTPServer(("127.0.0.1", 0), Trap) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            browser.open(f"http://127.0.0.1:{site.server_address[1]}/")
            browser.one("button").click()
            browser.until(lambda: browser.driver.current_url.startswith(keyed.url), "answer")
            assert "token" in browser.text("main")
        finally:
            site.shutdown()
            thread.join()
    browser.open(f"{keyed.url}/console/try")
    assert browser.text(".menu-name") == "operator"
    assert [line for line in refusals(browser) if "favicon" not in line] == []
