"""The console in a real browser: pages, actions, both themes, small and large screens."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.service.console.browser import foreign

SIZES = [(360, 740), (1280, 800), (3840, 2160)]


def look(browser, name):
    """Check the page in both themes, on a phone and on a large screen; keep pictures."""
    for theme in ("light", "dark"):
        browser.use_theme(theme)
        assert browser.violations() == [], theme
        browser.shoot(f"{name}-{theme}")
    for width, height in SIZES:
        browser.resize(width, height)
        assert not browser.overflows(), width
        assert browser.small_targets() == [], width
        browser.shoot(f"{name}-{width}")
    browser.resize(1280, 900)


def test_a_newcomer_sees_a_defect_with_one_click(browser, plain):
    browser.open(f"{plain.url}/console/try")
    assert browser.all("[data-samples=nut]")[0].is_displayed() is False
    Select(browser.one("#category")).select_by_visible_text("nut")
    browser.one("[data-samples=nut] .tile").click()
    assert browser.text(".verdict h2") == "NG"
    heat = browser.one(".heat")
    assert heat.get_attribute("opacity") == "0"
    browser.driver.execute_script(
        "const s = document.querySelector('[data-blend]'); s.value = 60;"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert heat.get_attribute("opacity") == "0.6"
    regions = browser.one(".regions")
    assert not regions.is_displayed()
    browser.one("[data-layer=regions]").click()
    assert "off" not in regions.get_attribute("class")
    look(browser, "try")
    requests = browser.requests()
    assert len(requests) > 5
    assert foreign(requests, plain.url) == []


def test_an_image_is_chosen_dropped_and_pasted(browser, plain, tmp_path, image):
    path = tmp_path / "my part.png"
    path.write_bytes(image(seed=5))
    browser.open(f"{plain.url}/console/try?category=bolt")
    browser.one("#file").send_keys(str(path))
    assert browser.text(".verdict h2") == "OK"
    assert "my part.png" in browser.text(".verdict p")
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        browser.driver.execute_script(
            """
            document.getElementById("result").replaceChildren();
            const files = new DataTransfer();
            const canvas = document.createElement("canvas");
            const bytes = atob(canvas.toDataURL().split(",")[1]);
            const content = Uint8Array.from(bytes, (one) => one.charCodeAt(0));
            files.items.add(new File([content], arguments[0] + ".png", {type: "image/png"}));
            const event = new Event(arguments[0], {bubbles: true, cancelable: true});
            event[arguments[1]] = files;
            document.body.dispatchEvent(event);
            """,
            event,
            holder,
        )
        browser.until(lambda event=event: f"{event}.png" in browser.text(".verdict p"), event)


def test_the_camera_of_the_device_takes_a_picture(browser, plain):
    browser.open(f"{plain.url}/console/try?category=bolt")
    browser.one("#camera-on").click()
    video = (
        "const v = document.getElementById('camera'); return v.videoWidth > 0 && v.readyState > 1"
    )
    browser.until(lambda: browser.driver.execute_script(video), "picture of the camera")
    browser.one("#camera-shoot").click()
    assert browser.text(".verdict h2") == "OK"
    assert "camera.png" in browser.text(".verdict p")
    browser.one("#camera-off").click()
    assert not browser.one("#camera-live").is_displayed()


@pytest.mark.parametrize(
    ("code", "title", "word"), [("de", "Ein Bild ausprobieren", "NG"), ("zh", "试检图像", "不合格")]
)
def test_a_person_chooses_a_language_and_a_theme(browser, plain, code, title, word):
    browser.open(f"{plain.url}/console/try?category=nut")
    browser.one(".menu summary").click()
    Select(browser.one("#choose-language")).select_by_value(code)
    Select(browser.one("#choose-theme")).select_by_value("dark")
    browser.one(".panel button").click()
    browser.until(lambda: browser.text("h1") == title, title)
    assert browser.driver.current_url.endswith("/console/try?category=nut")
    assert browser.one("html").get_attribute("data-theme") == "dark"
    browser.one("[data-samples=nut] .tile").click()
    assert browser.text(".verdict h2") == word
    assert browser.violations() == []
    browser.shoot(f"try-{code}")


def test_an_operator_signs_in_and_out(browser, keyed, secrets):
    browser.open(f"{keyed.url}/console/try?category=nut")
    look(browser, "sign-in")
    browser.one("#key").send_keys(secrets["operator"])
    browser.one("#key").submit()
    browser.until(lambda: browser.all("#trial"), "page after the sign-in")
    assert browser.driver.current_url.endswith("/console/try?category=nut")
    assert browser.text(".menu-name") == "operator"
    browser.one(".menu summary").click()
    browser.driver.find_element(By.XPATH, "//button[text()='Sign out']").click()
    browser.until(lambda: browser.all("#key"), "sign-in")
    browser.open(f"{keyed.url}/console/try")
    assert browser.all("#key")


def test_everything_is_reached_by_the_keyboard(browser, plain):
    browser.open(f"{plain.url}/console/try")
    reached, names = [], set()
    for _ in range(40):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        active = browser.driver.switch_to.active_element
        outline = active.value_of_css_property("outline-style")
        if active in reached or active.tag_name == "body":
            break
        reached.append(active)
        names.add(active.get_attribute("id") or active.get_attribute("class") or active.text)
        if active.get_attribute("type") != "file":  # its label shows the focus
            assert outline == "solid", names
    assert {"skip", "category", "tile", "file", "camera-on"} <= names
