"""Review in a real browser: fifty parts by keys alone, one of them undone."""

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.service.console.browser import foreign
from tests.service.console.test_browser import look

PARTS = 50
STATION = "review by keys"
CLASSES = ("scratch", "hair crack")


def test_fifty_parts_are_judged_by_keys_alone(browser, plain, image):
    with plain.client() as client:
        fields = {"category": "nut", "station": STATION, "origin": "line"}
        for number in range(PARTS):
            values = {**fields, "part_id": f"cell-{number:02}"}
            assert client.post("/detect", params=values, content=image(seed=number)).is_success

        def press(*keys):
            """Press keys, and wait until another part is shown."""
            before = shown()
            ActionChains(browser.driver).send_keys(*keys).perform()
            browser.until(lambda: shown() != before, f"the part after {keys}")

        def shown():
            return browser.one("#part-shown").get_attribute("data-part")

        browser.open(f"{plain.url}/console/review?station={STATION}&order=oldest")
        browser.one("#who")
        ActionChains(browser.driver).send_keys("Ada", Keys.ENTER).perform()
        browser.one("#desk")
        press("c", CLASSES[0], Keys.ENTER)
        press("m", "upper edge", Keys.ESCAPE, "c", CLASSES[1], Keys.ENTER)
        look(browser, "review")
        expected = [("defective", CLASSES[0]), ("defective", CLASSES[1])]
        outcomes = {"g": ("good", None), "d": ("defective", None), "u": ("unsure", None)}
        for number in range(2, PARTS):
            key = "gdug1"[number % 5]
            press(key)
            expected.append(outcomes.get(key) or ("defective", expected_class(expected)))
        assert shown() == ""
        press("b")
        assert "cell-49" in browser.text(".told")
        browser.shoot("review-judged")
        press("n")
        press("z")
        assert "cell-49" in browser.text(".told")
        assert "nobody has judged this part" in browser.one("#said").get_attribute("textContent")
        expected[-1] = (None, None)
        found = client.get("/inspections", params={"station": STATION, "limit": 100}).json()
        parts = sorted(found["inspections"], key=lambda one: one["part_id"])
        given = [client.get(f"/inspections/{one['inspection_id']}").json() for one in parts]
    assert [(one["verdict"], standing_class(one)) for one in given] == expected
    assert given[1]["verdicts"][0]["comment"] == "upper edge"
    assert {one["author"] for part in given for one in part["verdicts"]} == {
        "Ada (anonymous@127.0.0.1)"
    }
    assert given[-1]["verdicts"][0]["verdict"] == "withdrawn"
    assert sum(len(one["verdicts"]) for one in given) == PARTS + 1
    assert foreign(browser.requests(), plain.url) == []


def expected_class(expected):
    """Return the class that key 1 chooses: the one given last."""
    return next(name for _, name in reversed(expected) if name)


def standing_class(part):
    return part["verdicts"][0]["defect_class"] if part["verdict"] else None
