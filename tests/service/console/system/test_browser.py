"""System in a real browser: a key is withdrawn, dead letters are sent again, a runbook is read."""

from selenium.webdriver.common.by import By

from service.access.keys import add_key, read_keys
from service.http.declaration import Scope
from tests.service.console.browser import foreign
from tests.service.console.test_browser import look

SECTIONS = ("", "/alerts", "/deliveries", "/drift", "/storage", "/keys", "/audit", "/versions")


def sign_in(browser, system):
    browser.open(f"{system.server.url}/console/sign-in?next=/console/system")
    browser.one("#key").send_keys(system.secrets["engineer"])
    browser.one("#key").submit()
    browser.until(lambda: browser.all("#workers"), "the page System")


def act(browser, summary, where="main"):
    """Open a form by its button, give a reason, and send it."""
    xpath = f"//details[contains(., '{summary}') and contains(., '{where}')]/summary"
    browser.driver.find_element(By.XPATH, xpath).click()
    form = browser.driver.find_element(By.CSS_SELECTOR, "details.act[open] form")
    form.find_element(By.NAME, "reason").send_keys("it was lost")
    form.find_element(By.CSS_SELECTOR, "button").click()


def test_an_engineer_withdraws_a_key_sends_dead_letters_again_and_reads_a_runbook(
    browser, system, eventually
):
    add_key(system.keys, "departing", [Scope.DETECT])
    sign_in(browser, system)
    url = f"{system.server.url}/console/system"
    waiting = browser.one("#workers .headline")
    browser.until(lambda: browser.one("#workers .headline") != waiting, "the workers again")

    browser.open(f"{url}/keys")
    act(browser, "Withdraw", "departing")
    browser.until(lambda: "departing is withdrawn" in browser.text(".note"), "the note")
    assert "departing" not in {key.name for key in read_keys(system.keys)}

    browser.open(f"{url}/deliveries")
    before = len(system.receiver.seen)
    act(browser, "Send dead letters again", "Send again")
    browser.until(lambda: "are sent again" in browser.text(".note"), "the note")
    eventually(lambda: len(system.receiver.seen) > before, "the dead letter")

    browser.open(f"{url}/alerts")
    browser.until(lambda: browser.all("a.alert"), "the alerts")
    browser.driver.find_element(By.CSS_SELECTOR, "a.alert[href$=MambaadSinkHeld]").click()
    browser.until(lambda: "no result is lost" in browser.text(".prose"), "the runbook")
    assert browser.violations() == []
    browser.shoot("system-runbook")
    for section in SECTIONS:
        browser.open(url + section)
        look(browser, f"system{section.replace('/', '-')}")
    requests = browser.requests()
    assert len(requests) > 10
    assert foreign(requests, system.server.url) == []
