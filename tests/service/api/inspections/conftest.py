"""A service with an archive, filled by the tests, and asked without a socket."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.inspection import Decision
from service.access.keys import add_key
from service.api.inspections.door import InspectionsDoor
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.media import MAP_SUFFIX, Media
from service.archive.records import DecisionSource, InspectionRecord, ViewRecord
from service.archive.searching.archive import Archive
from service.archive.searching.cursors import Cursors
from service.archive.sqlite_journal import SqliteJournal
from service.errors import NoSuchModel
from service.http.declaration import Scope
from service.inspection.images.decoding import ImageLimits
from service.inspection.redrawing import Redrawer
from service.settings import AccessSettings, Settings, VersionSettings
from service.telemetry.metrics import Metrics
from tests.service.line import Line

NODE = "line-1"
BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)


@dataclass
class Archived:
    """A service whose archive is a journal; `secrets` are keys by scope."""

    line: Line
    journal: SqliteJournal
    media: Media
    secrets: dict[str, str]
    numbers: Iterator[int]

    def put(self, **fields: Any) -> InspectionRecord:
        """Insert an inspection, a second later than the last."""
        number = next(self.numbers)
        values = {
            "inspection_id": new_id(),
            "received_at": BEGIN + timedelta(seconds=number),
            "category": "bolt",
            "told": Decision.OK,
            "source": DecisionSource.NETWORK,
            "node": NODE,
            "number": number,
            "score": 0.25,
            "request_id": f"request-{number}",
        }
        record = InspectionRecord(**(values | fields))
        self.journal.write_now(lambda connection: store.insert(connection, [record]))
        return record

    def view(self, image: bytes | None = None, raw_map: bytes | None = None, **fields: Any) -> Any:
        """Put the files of a view; return its record."""
        values: dict[str, Any] = {}
        if image is not None:
            values["image_sha256"], values["image_state"] = self.media.put(image, BEGIN.date())
        if raw_map is not None:
            kept = self.media.put(raw_map, BEGIN.date(), MAP_SUFFIX)
            values["map_sha256"], values["map_state"] = kept
        return ViewRecord(**(values | fields))

    def change(self, record: InspectionRecord, **fields: Any) -> None:
        """Change the first view of an inspection, as the retention does."""
        after = replace(record, views=(replace(record.views[0], **fields), *record.views[1:]))
        self.journal.write_now(lambda connection: store.replace_record(connection, record, after))

    def ask(self, method: str, path: str, key: str = "admin", **asked: Any) -> httpx.Response:
        headers = {"X-API-Key": self.secrets[key], **asked.pop("headers", {})}
        response: httpx.Response = self.line.run(
            lambda client: client.request(method, path, headers=headers, **asked)
        )
        return response

    def get(self, path: str, **asked: Any) -> httpx.Response:
        return self.ask("GET", path, **asked)

    def judge(self, record: InspectionRecord, noun: str, **body: Any) -> httpx.Response:
        return self.ask("PUT", f"/inspections/{record.inspection_id}/{noun}", "review", json=body)

    def search(self, **wanted: Any) -> dict[str, Any]:
        """Search, which has to succeed."""
        response = self.get("/inspections", params=wanted)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body


@pytest.fixture
def archived(tmp_path: Path, metrics: Metrics) -> Iterator[Archived]:
    keys = tmp_path / "keys.json"
    secrets = {scope.value: add_key(keys, f"key-{scope.value}", [scope]) for scope in Scope}
    settings = Settings(
        versions=VersionSettings(weights_dir=tmp_path), access=AccessSettings(api_keys_file=keys)
    )
    line = Line(settings, metrics)
    line.version = no_version  # type: ignore[attr-defined]
    journal = SqliteJournal.open(tmp_path / "archive", NODE)
    media = Media(tmp_path / "media", min_free_bytes=0)
    archive, redrawer = Archive(journal, NODE), Redrawer(ImageLimits.of(settings.inspection))
    line.app.state.inspections = InspectionsDoor(archive, media, Cursors(b"k" * 32), redrawer, NODE)
    yield Archived(line, journal, media, secrets, itertools.count())
    asyncio.run(archive.close())
    asyncio.run(redrawer.close())
    journal.close()


def no_version(name: str, version: str) -> None:
    raise NoSuchModel(f"no version {version!r} of a model {name!r}")


@pytest.fixture
def walk(archived: Archived) -> Callable[..., list[str]]:
    """Follow the cursors to the last page."""

    def follow(**wanted: Any) -> list[str]:
        body = archived.search(**wanted)
        found = [row["inspection_id"] for row in body["inspections"]]
        while body["cursor"]:
            body = archived.search(**wanted, cursor=body["cursor"])
            found += [row["inspection_id"] for row in body["inspections"]]
        return found

    return follow
