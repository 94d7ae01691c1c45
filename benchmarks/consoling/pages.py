"""Every page of the console, asked of a service with a large archive."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
from fastapi.routing import iter_route_contexts
from sqlalchemy import create_engine, update

from benchmarks.archiving.rows import CATEGORIES, NODE, STATIONS, Made, fill_sqlite
from benchmarks.loading import CannotMeasure
from service.access.keys import add_key
from service.app import create_app
from service.archive.media import Media
from service.archive.sqlite_journal import JOURNAL_FILE, SqliteJournal
from service.archive.tables import views
from service.console.samples import Samples
from service.http.declaration import Scope, declared_by
from service.inspection.images.maps import write_map
from service.settings import ConsoleSettings, Settings, VersionSettings

LIMIT_MS = 300.0
_ARCHIVE = "archive"
_MEDIA_DAYS = 31
_HTML = {"Accept": "text/html"}
_TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')
_PART = re.compile(r'class="part" href="[^"]*/console/parts/([0-9a-f-]+)"')
_MAP_SIDE = 256
_MAX_IMAGE_BYTES = 2**24

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one page, from the request to the answer's last byte.

    `refused` counts answers such as 422: the search read more than the archive allows.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    repeats: int
    answer_bytes: int
    refused: int = 0


def fill(state: Path, made: Made, image: bytes, size: tuple[int, int], tell: Tell) -> None:
    """Fill a service's archive; the kept images are one image, and the kept maps one map."""
    folder = state / _ARCHIVE
    folder.mkdir(parents=True, exist_ok=True)
    SqliteJournal.open(folder, NODE).close()
    fill_sqlite(folder / JOURNAL_FILE, made, tell)
    media, raw_map = Media(folder / "media", 0), write_map(_scores())
    for day in range(_MEDIA_DAYS + 1):
        date = (made.end - timedelta(days=day)).date()
        image_sha256, _ = media.put(image, date)
        map_sha256, _ = media.put(raw_map, date, "map.png")
    values = {
        "image_sha256": image_sha256, "map_sha256": map_sha256,
        "width": size[0], "height": size[1], "image_bytes": len(image),
    }  # fmt: skip
    engine = create_engine(f"sqlite:///{folder / JOURNAL_FILE}")
    with engine.begin() as connection:
        connection.execute(update(views).where(views.c.image_state == "kept").values(values))
    engine.dispose()


def write_keys(path: Path) -> str:
    """Write a file with the key of an engineer; return the key."""
    return add_key(path, "engineer", [Scope.ADMIN, Scope.REVIEW])


def sign_in(client: httpx.Client, key: str) -> None:
    """Sign a browser in. Raises `CannotMeasure`."""
    page = client.get("/console/sign-in", headers=_HTML)
    token = _TOKEN.search(page.text)
    form = {"token": token[1] if token else "", "key": key}
    answer = client.post("/console/sign-in", data=form)
    if answer.status_code != 303:
        raise CannotMeasure(f"the sign-in was answered {answer.status_code}")


def addresses(client: httpx.Client, weights: Path, samples: Path, made: Made) -> dict[str, str]:
    """Return every page's address by its name.

    Pages without parameters are those of the service's routes, so that a new page is measured too.
    """
    values = {"inspection_id": _kept_part(client), **_sample(samples)}
    pages = {}
    for path in _paths(weights):
        names = re.findall(r"{(\w+)}", path)
        if all(name in values for name in names):
            pages[path] = path.format(**values)
    return pages | dict(_history(client, made))


def measure(
    client: httpx.Client, pages: Mapping[str, str], repeats: int, tell: Callable[[], object]
) -> tuple[dict[str, Times], dict[str, str]]:
    """Ask for every page in turn, so many times; return the times, and why others have none."""
    open_pages, refused = dict[str, str](), dict[str, str]()
    for name, address in pages.items():
        answered = _answering(client, address)
        if answered is None:
            refused[name] = f"{client.get(address).status_code} without its parameters"
        else:
            open_pages[name] = answered
    taken: dict[str, list[float]] = {name: [] for name in open_pages}
    sizes, failed = dict[str, int](), Counter[str]()
    for _ in range(repeats):
        for name, address in open_pages.items():
            began = time.perf_counter()
            answer = client.get(address)
            taken[name].append(1000 * (time.perf_counter() - began))
            sizes[name] = len(answer.content)
            failed[name] += answer.status_code >= 400
        tell()
    return {
        name: Times(*percentiles(ms), len(ms), sizes[name], failed[name])
        for name, ms in taken.items()
    }, refused


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99, with one decimal."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return round(p50, 1), round(p95, 1), round(p99, 1)


def as_json(times: Mapping[str, Times]) -> dict[str, Any]:
    """Return the times as values of JSON."""
    return {name: asdict(of_page) for name, of_page in times.items()}


def _scores() -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return a map with three defects, as smooth as a network's."""
    rows, columns = np.mgrid[0:_MAP_SIDE, 0:_MAP_SIDE] / _MAP_SIDE
    scores = np.random.default_rng(0).normal(0.25, 0.01, (_MAP_SIDE, _MAP_SIDE))
    for row, column, width in ((0.3, 0.4, 0.05), (0.7, 0.6, 0.1), (0.2, 0.8, 0.02)):
        scores += 0.6 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width**2)
    return scores.clip(0, 1).astype(np.float32)


def _answering(client: httpx.Client, address: str) -> str | None:
    """Return the address with the parameters that it needs, if it answers with them."""
    for query in ("", f"?category={CATEGORIES[0]}"):
        if client.get(address + query).status_code < 400:
            return address + query
    return None


def _paths(weights: Path) -> list[str]:
    """Return the paths of all pages and their files that a GET shows; no stream."""
    settings = Settings(
        versions=VersionSettings(weights_dir=weights), console=ConsoleSettings(enabled=True)
    )
    paths = set[str]()
    for route in iter_route_contexts(create_app(settings).routes):
        declared = declared_by(getattr(route, "endpoint", None))
        if declared.is_page and declared.is_counted and "GET" in (route.methods or ()):
            paths.add(str(route.path))
    return sorted(paths)


def _kept_part(client: httpx.Client) -> str:
    """Return the newest rejected part, whose image is kept."""
    found = _PART.search(client.get("/console/history?told=NG", headers=_HTML).text)
    if found is None:
        raise CannotMeasure("History shows no rejected part")
    return found[1]


def _sample(folder: Path) -> dict[str, str]:
    samples = Samples(folder, _MAX_IMAGE_BYTES)
    for category in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        for name in samples.names(category):
            return {"category": category, "name": name}
    raise CannotMeasure(f"no images in {folder}/<category>/")


def _history(client: httpx.Client, made: Made) -> Iterator[tuple[str, str]]:
    """Yield the usual searches, each with its name."""
    middle = made.begin + (made.end - made.begin) / 2
    searches = {
        "NG of a category": {"told": "NG", "category": CATEGORIES[1]},
        "a station": {"station": STATIONS[3]},
        "a station in the past": {"station": STATIONS[3], "until": middle.isoformat()},
        "one part": {"part_id": made.part_id(made.rows // 3)},
        "open reviews": {"open_review": "true"},
        "judged defective": {"verdict": "defective"},
        "a month": {
            "since": middle.isoformat(), "until": (middle + timedelta(days=30)).isoformat()
        },
        "found NG": {"found": "NG"},
        "high scores": {"min_score": "0.9"},
        "UNDECIDED": {"told": "UNDECIDED"},
        "held": {"is_held": "true"},
        "without a verdict": {"verdict": "none"},
        "tests": {"origin": "test"},
        "a network": {"model": "solar/3"},
    }  # fmt: skip
    for name, query in searches.items():
        yield f"/console/history: {name}", f"/console/history?{urlencode(query)}"
    address = f"/console/history?{urlencode({'until': middle.isoformat()})}"
    for _ in range(5):
        older = re.search(r'rel="next" href="([^"]+)"', client.get(address, headers=_HTML).text)
        if older is None:
            break
        address = older[1].replace("&amp;", "&")
    yield "/console/history: a deep cursor", address
