"""What the pages share, made once for the service."""

from dataclasses import dataclass

from starlette.requests import Request

from model.checkpoints.store import Store
from service.access import signing
from service.access.guard import Guard
from service.access.sessions import Sessions
from service.archive.journal import Journal
from service.console.board.feed import LiveFeed
from service.console.pages import Pages
from service.console.pictures import Previewer
from service.console.samples import Samples
from service.inspection.images.decoding import ImageLimits
from service.settings import ConsoleSettings, Settings
from service.versions.documents import Documents

_KEY_FILE = "console.key"


@dataclass(frozen=True, slots=True)
class Console:
    """The objects that the pages use; `policy` is their Content-Security-Policy."""

    settings: ConsoleSettings
    sessions: Sessions
    pages: Pages
    samples: Samples
    previewer: Previewer
    feed: LiveFeed | None
    documents: Documents
    policy: str


def open_console(settings: Settings, guard: Guard, journal: Journal | None) -> Console:
    """Return the console of a service; without a journal there is no page Live."""
    chosen = settings.console
    feed = None
    if journal is not None:
        feed = LiveFeed(journal, settings.archive.node_name, chosen.shifts, chosen.zone)
        feed.listen()
    return Console(
        chosen,
        Sessions(_signing_key(settings), guard, chosen),
        Pages(chosen.zone),
        Samples(settings.samples_dir, settings.inspection.max_image_bytes),
        Previewer(ImageLimits.of(settings.inspection)),
        feed,
        Documents(Store(settings.versions.weights_dir)),
        _policy(chosen),
    )


def console_of(request: Request) -> Console:
    """Return the console of a request's service."""
    console: Console = request.app.state.console
    return console


def _signing_key(settings: Settings) -> bytes:
    """Return the key of the cookies; without a place for it, they end with the process."""
    chosen, state_dir = settings.console.signing_key_file, settings.versions.state_dir
    if chosen is None and state_dir is not None:
        chosen = state_dir / _KEY_FILE
    return signing.new_key() if chosen is None else signing.read_key(chosen, "sessions")


def _policy(settings: ConsoleSettings) -> str:
    ancestors = " ".join(settings.frame_ancestors) or "'none'"
    return (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        f"form-action 'self'; frame-ancestors {ancestors}"
    )
