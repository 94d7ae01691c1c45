"""`kill -9` during deliveries, again and again: nothing is lost, order holds, repeats have ids."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.archive.sqlite_journal import SqliteJournal
from tests.service.delivery.broker import first_appearances, listening, out_of_order
from tests.service.delivery.journals import NODE, parts, record
from tests.service.delivery.receiver import SECRET, Receiver

ROOT = Path(__file__).parents[3]
PARTS = 300
DELIVER = """
import json, sys, time
from pathlib import Path
from prometheus_client import CollectorRegistry
from service.archive.sqlite_journal import SqliteJournal
from service.delivery.deliveries import deliveries_of
from service.settings import ArchiveSettings, DeliverySettings, Settings
from service.telemetry.metrics import Metrics

folder, sinks = Path(sys.argv[1]), json.loads(sys.argv[2])
archive = ArchiveSettings(node="line-1")
settings = Settings(archive=archive, delivery=DeliverySettings(sinks=sinks))
journal = SqliteJournal.open(folder, "line-1")
deliveries = deliveries_of(settings, journal, Metrics(CollectorRegistry()))
deliveries.start()
while any(status.depth for status in deliveries.status()):
    time.sleep(0.01)
deliveries.stop()
journal.close()
"""


@pytest.fixture
def backlog(tmp_path):
    """A folder of a journal with parts that were not delivered."""
    journal = SqliteJournal.open(tmp_path / "archive", NODE)
    record(journal, parts(PARTS))
    journal.close()
    return tmp_path / "archive"


def test_a_service_killed_while_it_delivers_loses_nothing(backlog, broker, tmp_path, eventually):
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    common = {"start": "oldest", "max_per_s": 400}
    with Receiver().running() as receiver, listening(broker) as listener:
        hook = {"type": "webhook", "url": receiver.url, "secret_file": str(tmp_path / "secret")}
        files = {"type": "folder", "path": str(tmp_path / "results"), "max_lines": 7}
        sinks = {"mes": broker.settings(), "hook": hook, "files": files}
        settings = json.dumps({name: {**sink, **common} for name, sink in sinks.items()})
        command = [sys.executable, "-c", DELIVER, str(backlog), settings]
        for arrived in (20, 90, 160):
            with subprocess.Popen(command, cwd=ROOT) as process:
                eventually(lambda n=arrived: len(first_appearances(listener.messages)) > n)
                process.send_signal(signal.SIGKILL)
        subprocess.run(command, cwd=ROOT, check=True, timeout=180)
        eventually(lambda: len(first_appearances(listener.messages)) == PARTS)

    lines = [
        json.loads(line)
        for file in sorted(tmp_path.glob("results/*.jsonl"), key=_first_number)
        for line in file.read_text("utf-8").splitlines()
    ]
    assert not list(tmp_path.glob("results/*.part"))
    for messages in (listener.messages, receiver.taken, lines):
        assert len(first_appearances(messages)) == PARTS
        assert not out_of_order(messages)
    assert receiver.unsigned == 0


def _first_number(file: Path) -> tuple[int, int]:
    """Return the number in a file's name, and that of a repetition."""
    number, _, again = file.stem.rpartition("_")[2].partition("-")
    return int(number), int(again or 0)
