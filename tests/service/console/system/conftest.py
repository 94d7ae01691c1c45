"""A service with keys and sinks: of these one refuses parts for good, and one is away."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from service.access.keys import add_key
from service.http.declaration import Scope
from service.settings import AccessSettings, ArchiveSettings, DeliverySettings, TelemetrySettings
from tests.service.conftest import RunningServer, running
from tests.service.console.conftest import settings_of
from tests.service.console.test_pages import sign_in
from tests.service.delivery.journals import inspection, record
from tests.service.delivery.receiver import SECRET, Receiver

HOSTILE = """<script>alert("system")</script>'{{ 7*7 }}"""


@dataclass
class System:
    """A service, its keys' secrets, the file of them, and the receiver of its webhook."""

    server: RunningServer
    secrets: dict
    keys: object
    receiver: Receiver

    @contextmanager
    def client(self, name="engineer"):
        with self.server.client() as client:
            assert sign_in(client, self.secrets[name]).status_code == 303
            yield client

    @property
    def audit(self):
        return self.server.app.state.service.rollout.audit


@pytest.fixture(scope="session")
def system(weights, tmp_path_factory, samples_dir, eventually):
    folder = tmp_path_factory.mktemp("system")
    keys, secret = folder / "keys.json", folder / "secret"
    secret.write_text(SECRET, "utf-8")
    scopes = {"viewer": [Scope.READ], "operator": [Scope.REVIEW], "engineer": [Scope.ADMIN]}
    secrets = {name: add_key(keys, name, allowed) for name, allowed in scopes.items()}
    with Receiver().running() as receiver:
        receiver.refused_parts, receiver.answer = {"bad"}, HOSTILE.encode()
        hook = {"type": "webhook", "url": f"{receiver.url}/T0P5ECRET", "secret_file": secret}
        away = {"type": "folder", "path": folder / "<b>gone" / "results"}
        settings = settings_of(
            weights, folder / "state", samples_dir,
            access=AccessSettings(api_keys_file=keys),
            delivery=DeliverySettings(sinks={"hook": hook, "away": away}),
            archive=ArchiveSettings(node="node-7"),
            telemetry=TelemetrySettings(trace_endpoint=None),
        )  # fmt: skip
        with running(settings) as server:
            with server.client() as client:
                eventually(lambda: client.get("/livez").status_code == 200)
            parts = [("bad", "EL-1"), ("good", "EL-1"), ("x", f"EL {HOSTILE}")]
            record(
                server.app.state.archive.journal,
                [inspection(part_id=part, station=station) for part, station in parts],
            )
            dead = server.app.state.deliveries.count_dead
            eventually(lambda: dead()["hook"] == 1, "a dead letter")
            yield System(server, secrets, keys, receiver)
