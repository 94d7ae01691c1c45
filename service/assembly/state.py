"""Opens what keeps routes, thresholds and keys: this node's folder, or a PostgreSQL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.access.key_ring import Keys
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.versions.state import Deployment, StateUnreadable, lock_folder
from service.versions.state_store import StateStore

if TYPE_CHECKING:
    from service.shared.sharing import Sharing


@dataclass(frozen=True, slots=True)
class OpenState:
    """The state of a service; `keys` is None if a file has them, `sharing` if nobody shares it."""

    deployment: StateStore
    keys: Keys | None
    sharing: "Sharing | None"
    release: Callable[[], object]


def open_state(settings: Settings, metrics: Metrics) -> OpenState:
    """Lock the state folder, and read the state. Raises `StateUnreadable`."""
    folder = settings.versions.state_dir
    if settings.state.url is None:
        local = Deployment.claim(folder)
        return OpenState(local, None, None, local.release)
    if folder is None:
        raise StateUnreadable("a shared state needs MAMBAAD_VERSIONS__STATE_DIR, for the last one")
    try:
        from service.shared.sharing import open_sharing  # noqa: PLC0415 - needs an extra's package
    except ModuleNotFoundError as error:
        raise StateUnreadable(
            f"MAMBAAD_STATE__URL needs {error.name}: pip install 'mambaad-service[postgresql]'"
        ) from error
    lock = lock_folder(folder)
    try:
        sharing = open_sharing(settings.state, folder, settings.archive.node_name, metrics)
    except StateUnreadable:
        lock.release()
        raise

    def release() -> None:
        sharing.close()
        lock.release()

    return OpenState(sharing.deployment, sharing.keys, sharing, release)
