"""Hosts on a switch: one for the line, one with a PostgreSQL that has the state, three for nodes.

parts/1 decides OK for every bolt, parts/2 NG; the state routes bolts to parts/1.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.key import CheckpointKey
from model.runtimes.torch import open_checkpoint
from service.access.keys import new_key
from service.archive.migrate import migrate as migrate_archive
from service.http.declaration import Scope
from service.settings import StateSettings
from service.shared.link import Link
from service.shared.tables import STEPS
from service.shared.transfer import CommandAuthor, Source, import_state
from service.versions.assignment import Assignment
from service.versions.state import State
from tests.hosts import Host, hosts_on_a_switch
from tests.service.archive.postgresql import running as postgresql_running
from tests.service.plant import Line, Node

DECISIONS = {"1": "OK", "2": "NG"}
IMAGES = 6


@dataclass
class Site:
    """`secret` is the line's API key, `admin` an operator's."""

    folder: Path
    weights: Path
    on_line: Host
    database: Host
    hosts: list[Host]
    url: str
    admin: str
    secret: str
    images: list[bytes]
    expected: list[float]
    """The raw scores of a single machine."""

    def line_to(self, nodes: list[Node]) -> Line:
        """Return the line, which posts to these nodes."""
        return Line(self.on_line, self.secret, [node.url for node in nodes], self.images)


@contextmanager
def open_site(folder: Path, save, image) -> Iterator[Site]:  # type: ignore[no-untyped-def]
    """Make checkpoints, images and hosts, and start the PostgreSQL."""
    weights = folder / "weights"
    for threshold in (10.0, -10.0):
        save(weights, "parts", {"bolt": threshold})
    images = [image(seed=number) for number in range(IMAGES)]
    detector = open_checkpoint(CheckpointStore(weights).load("parts", "1"))
    expected = [
        detector.inspect_images([Image.open(BytesIO(content))], "bolt")[0].raw_score
        for content in images
    ]
    admin_key, admin = new_key("admin", [Scope.ADMIN])
    line_key, secret = new_key("line", [Scope.DETECT])
    names = ("line", "database", "first", "second", "third")
    with ExitStack() as stack:
        on_line, database, *hosts = stack.enter_context(hosts_on_a_switch(*names))
        with database.entered():
            server = stack.enter_context(postgresql_running(database.address))
            url = server.create_database()
            STEPS.migrate(url)
            migrate_archive(url)
            office = Link(StateSettings(url=url), "office")
            routes = State().with_route("bolt", Assignment(stable=CheckpointKey("parts", "1")))
            author = CommandAuthor("office", "office")
            import_state(office, Source(routes, [admin_key, line_key], ()), author)
            office.close()
        yield Site(folder, weights, on_line, database, hosts, url, admin, secret, images, expected)
