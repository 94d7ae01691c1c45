"""The server that other tests stand on."""

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.service.archive.postgresql import running


def test_each_test_has_a_database_of_its_own(postgresql_url, postgresql_server):
    other = postgresql_server.create_database()
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE parts (name TEXT)"))
        connection.execute(text("INSERT INTO parts VALUES ('schräg 😀')"))
    engine.dispose()
    engine = create_engine(other)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('parts')")).scalar() is None
    engine.dispose()
    postgresql_server.drop_database(other)


def test_a_killed_server_keeps_what_was_committed():
    with running() as server:
        url = server.create_database().replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE parts AS SELECT 7 AS number")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM parts").fetchall() == [(7,)]
