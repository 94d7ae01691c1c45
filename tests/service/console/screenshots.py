"""Takes the pictures of README and docs/console.md anew, with parts that are drawn.

    python -m tests.service.console.screenshots

This trains a small network on drawn parts, serves it, posts some dozens of parts, and photographs
every page of the menu, and a part's: four minutes on two cores.
"""

import random
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.loading.serving import MAMBAAD, ROOT
from benchmarks.stationing.site import Service, child_environment, ended
from tests.service.console.browser import Browser, chromium
from tests.service.console.demo_parts import CATEGORIES, encoded, part, write_good, write_samples

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
_GOOD = 40
_PARTS = 48
_SIZE = (1280, 800)
_LIVE_SIZE = (1280, 960)
_WIDTH = 960


def main() -> None:
    """Train, serve, post, photograph."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mambaad-screenshots-") as temporary:
        folder = Path(temporary)
        train(folder)
        settings = {
            "console__samples_dir": folder / "samples", "archive__keep_images": "OK=1,NG=1,REVIEW=1"
        }  # fmt: skip
        service = Service(folder, folder / "weights", settings)
        with ended([service]), chromium(folder / "chromium") as browser:
            service.start()
            with httpx.Client(base_url=service.url, timeout=60) as client:
                rejected = fill(client)
            photograph(browser, service.url, rejected)


def train(folder: Path) -> None:
    """Write samples, and a checkpoint trained on drawn parts."""
    write_good(folder / "data", _GOOD)
    write_samples(folder / "samples")
    options = ["--recipe", "fast", "--epochs", "12", "--batch-size", "8", "--seed", "0"]
    places = ["--weights", str(folder / "weights"), "--runs", str(folder / "runs")]
    command = [*MAMBAAD, "train", str(folder / "data"), "--name", "demo", *options, *places]
    subprocess.run(command, cwd=ROOT, env=child_environment(), check=True)


def fill(client: httpx.Client) -> str:
    """Post parts of two stations, judge some; return a rejected one."""
    chance, rejected = random.Random(0), ""
    for number in range(_PARTS):
        place = number % len(CATEGORIES)
        is_defective = chance.random() < 0.12 or number >= _PARTS - 1
        content = encoded(part(CATEGORIES[place], 500 + number, is_defective=is_defective))
        fields = {
            "category": CATEGORIES[place], "station": f"EL-{place + 1}", "job_id": "lot-7",
            "part_id": f"{CATEGORIES[place][0].upper()}-{10_400 + number}", "origin": "line",
        }  # fmt: skip
        is_doubtful = number in {20, 33}
        if is_doubtful:
            fields["told"] = "REVIEW"
        address = "/inspections" if is_doubtful else "/detect"
        answer = client.post(address, params=fields, content=content)
        answer.raise_for_status()
        if answer.json().get("decision") == "NG":
            rejected = answer.json()["inspection_id"]
            if chance.random() < 0.5:
                verdict = {"verdict": "defective", "defect_class": "scratch", "who": "Ada"}
                client.put(f"/inspections/{rejected}/verdict", json=verdict).raise_for_status()
    return rejected


def photograph(browser: Browser, url: str, rejected: str) -> None:
    """Take a picture of every page of the menu, of a trial, and of a part."""
    browser.use_theme("light")
    browser.resize(*_SIZE)
    browser.open(f"{url}/console/history")
    pages = [link.get_attribute("href") or "" for link in browser.all("nav[aria-label=Pages] a")]
    for address in pages:
        name = address.rpartition("/")[2]
        if httpx.get(address).status_code != 200:
            continue
        browser.resize(*(_LIVE_SIZE if name == "live" else _SIZE))
        browser.open(address)
        if name == "review":  # it asks for a name first
            browser.one("main input[name=who]").send_keys("Ada\n")
            browser.one("main .picture")
        if name == "try":
            browser.one("[data-samples] .tile:first-child").click()
            browser.one(".verdict h2")
        _save(browser, name)
    browser.open(f"{url}/console/parts/{rejected}")
    browser.driver.execute_script(
        "const s = document.querySelector('[data-blend]'); s.value = 45;"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    _save(browser, "part")


def _save(browser: Browser, name: str) -> None:
    """Write a small picture, once the page's images are there."""
    loaded = (
        "return document.readyState === 'complete' && "
        "[...document.querySelectorAll('img:not([loading=lazy])')].every((one) => one.complete)"
    )
    browser.until(lambda: browser.driver.execute_script(loaded), f"images of {name}")
    browser.driver.execute_async_script("setTimeout(arguments[0], 1500)")  # charts, lazy images
    picture = Image.open(BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")
    height = round(picture.height * _WIDTH / picture.width)
    small = picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    path = IMAGES / f"console-{name}.png"
    for colours in (256, 128, 64, 32):
        small.quantize(colours).save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
