"""A real PostgreSQL in a temporary folder, for tests; on loopback, or at another address.

`postgresql_url` is the URL of a new, empty database. A test that stops or kills the server starts
its own with `running()`.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.programs import program

_USER = "postgres"
_START_S = 30.0
_SETTINGS = {
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
}
_IS_ROOT = os.geteuid() == 0
# PostgreSQL refuses root. If the tests are killed, the kernel stops the server.
_IDENTITY = [f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if _IS_ROOT else []
_AS_USER = ["setpriv", *_IDENTITY, "--pdeathsig=SIGQUIT", "--"]


class PostgresServer:
    """A PostgreSQL server that can be stopped, killed and started again."""

    def __init__(self, folder: Path, address: str) -> None:
        self._address = address
        self.port = _free_port(address)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        answer = subprocess.run(
            [*_AS_USER, program("initdb"), "-D", folder / "data", "-U", _USER, *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")

    def start(self) -> None:
        """Start the server; return when it answers."""
        place = {"listen_addresses": self._address, "port": self.port}
        settings = [f"--{name}={value}" for name, value in (_SETTINGS | place).items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_AS_USER, program("postgres"), "-D", self._folder / "data", *settings],
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                pytest.fail((self._folder / "log").read_text("utf-8"))
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server as an operator does; open connections are cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop the server as a power cut does; it recovers at the next start."""
        self._end(signal.SIGQUIT)

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}@{self._address}:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database; return its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, also while a connection to it is open."""
        with self._connect() as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=self._address, port=self.port, user=_USER, dbname="postgres", autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


@contextmanager
def running(address: str = "127.0.0.1") -> Iterator[PostgresServer]:
    """Start a server; stop it and remove its folder at the end."""
    # pytest's folders are closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if _IS_ROOT:
        shutil.chown(folder, _USER, _USER)
    server = None
    try:
        server = PostgresServer(folder, address)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    """The server of this process's tests."""
    with running() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database."""
    url = postgresql_server.create_database()
    yield url
    postgresql_server.drop_database(url)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
