"""The migrations make exactly the tables that the code uses, and later ones only add."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect, select, text
from typer.testing import CliRunner

from service.archive.column_types import PlainText
from service.archive.migrate import (
    MIGRATIONS,
    Migration,
    SchemaUnusable,
    migrate,
    schema_of,
    upgrade,
)
from service.archive.searching.central import CentralDatabase
from service.archive.tables import CENTRAL_TABLES, JOURNAL_TABLES, inspections, metadata
from service.cli.main import build_commands
from service.errors import ArchiveUnavailable

HEAD = ScriptDirectory(MIGRATIONS, version_locations=[MIGRATIONS]).get_current_head() or ""
NEXT = f"{int(HEAD) + 1:04}"
ADDS = '''"""Adds."""

from alembic import op
from sqlalchemy import Column, Integer, Text

revision = "{revision}"
down_revision = "{before}"
oldest_writer = "{oldest_writer}"


def upgrade() -> None:
    {step}
'''
COLUMN = 'op.add_column("inspections", Column("colour", Text))'
DESTRUCTIVE = {
    "a table is gone": 'op.drop_table("holds")',
    "a table has another name": 'op.rename_table("holds", "kept")',
    "a column is gone": 'op.drop_column("holds", "reason")',
    "a column has another name": 'op.execute("ALTER TABLE holds RENAME reason TO why")',
    "a column must not be null": (
        'op.execute("ALTER TABLE holds ADD COLUMN n INTEGER NOT NULL DEFAULT 0"); '
        'op.drop_column("holds", "reason"); '
        "op.execute(\"ALTER TABLE holds ADD COLUMN reason TEXT NOT NULL DEFAULT ''\")"
    ),
    "a column has another type": (
        'op.drop_column("holds", "reason"); op.add_column("holds", Column("reason", Integer))'
    ),
    "an index is gone": 'op.drop_index("open_reviews")',
    "a new index is unique": (
        'op.create_index("one_hold", "holds", ["inspection_id"], unique=True)'
    ),
}


def later(folder: Path, step: str, oldest_writer: str = "0001") -> Path:
    """Return the migrations of a later release, which has one step more."""
    copy = Path(shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__")))
    content = ADDS.format(revision=NEXT, before=HEAD, step=step, oldest_writer=oldest_writer)
    (copy / f"r{NEXT}_later.py").write_text(content)
    return copy


def snapshot(connection: Connection) -> dict[str, dict[str, object]]:
    """Describe what the previous release relies on: by table, the columns and the indexes."""
    tables: dict[str, dict[str, object]] = {}
    inspector = inspect(connection)
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (str(column["type"]), column["nullable"], column["default"])
            for column in inspector.get_columns(table)
        }
        indexes = {
            index["name"]: (
                index["column_names"],
                bool(index["unique"]),
                [str(option) for option in index.get("dialect_options", {}).values()],
            )
            for index in inspector.get_indexes(table)
        }
        tables[table] = {"columns": columns, "indexes": indexes}
    return tables


def check_only_added(before: dict[str, dict[str, object]], after: dict[str, dict[str, object]]):
    """Fail if the previous release could not write or read the tables any more."""
    for table, parts in before.items():
        for part, entries in parts.items():
            assert {name: after[table][part].get(name) for name in entries} == entries
        for name in after[table]["columns"].keys() - parts["columns"].keys():
            _, is_nullable, default = after[table]["columns"][name]
            assert is_nullable or default is not None, f"{table}.{name} has no default"
        for name in after[table]["indexes"].keys() - parts["indexes"].keys():
            _, is_unique, _ = after[table]["indexes"][name]
            assert not is_unique, name


def walk(connection: Connection, migrations: Path, tmp_path: Path) -> None:
    """Run the migrations one after another, and check that each but the first only adds."""
    files = sorted(migrations.glob("r*.py"))
    before = None
    for count in range(1, len(files) + 1):
        folder = tmp_path / f"first-{count}"
        folder.mkdir(parents=True)
        for file in files[:count]:
            shutil.copy(file, folder)
        upgrade(connection, folder)
        after = snapshot(connection)
        if before is not None:
            check_only_added(before, after)
        before = after


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request):
    is_sqlite = request.param == "sqlite"
    url = "sqlite://" if is_sqlite else request.getfixturevalue("postgresql_url")
    engine = create_engine(url, poolclass=None if is_sqlite else NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_migrations_make_the_tables_of_the_code(connection):
    """After a change of tables.py: until its release, change the newest migration too."""
    upgrade(connection)
    is_sqlite = connection.dialect.name == "sqlite"
    tables = CENTRAL_TABLES + (JOURNAL_TABLES if is_sqlite else ())
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": "archive_revision",
            "compare_server_default": True,
            "include_name": lambda name, kind, _: (
                kind != "table" or name in {table.name for table in tables}
            ),
            "include_object": lambda thing, _name, kind, *_: kind != "table" or thing in tables,
        },
    )
    assert compare_metadata(context, metadata) == []
    assert set(inspect(connection).get_table_names()) - {"archive_revision"} == {
        table.name for table in tables
    }


def test_the_migrations_make_the_journal_to_the_letter():
    """Conditions of indexes, which no comparison sees, are those that queries contain."""

    def statements(make):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            make(connection)
            rows = connection.execute(text("SELECT name, sql FROM sqlite_schema")).all()
        engine.dispose()
        return {
            name: sorted(" ".join(sql.split()).replace("\t", " ").split(", "))
            for name, sql in rows
            if sql and name not in {"archive_revision", "sqlite_sequence"}
        }

    assert statements(upgrade) == statements(metadata.create_all)


def test_every_migration_after_the_first_only_adds(connection, tmp_path):
    walk(connection, later(tmp_path / "later", COLUMN), tmp_path)


@pytest.mark.parametrize("step", DESTRUCTIVE.values(), ids=DESTRUCTIVE)
def test_a_migration_that_takes_away_is_noticed(step, tmp_path):
    engine = create_engine("sqlite://")
    (tmp_path / "steps").mkdir()
    with engine.begin() as connection, pytest.raises((AssertionError, KeyError)):
        walk(connection, later(tmp_path / "later", step), tmp_path / "steps")
    engine.dispose()


def test_a_schema_says_where_it_stands(connection, tmp_path):
    assert schema_of(connection).is_older
    upgrade(connection)
    schema = schema_of(connection)
    assert (schema.revision, schema.is_older, schema.is_known) == (schema.head, False, True)
    migrations = later(tmp_path / "later", COLUMN)
    assert schema_of(connection, migrations).is_older
    upgrade(connection, migrations)
    upgrade(connection, migrations)
    assert not schema_of(connection).is_known
    schema_of(connection).check_usable()


def test_a_postgresql_is_migrated_by_command(postgresql_url, tmp_path, monkeypatch):
    run = CliRunner().invoke
    first = run(build_commands(), ["archive", "migrate", postgresql_url])
    assert (first.exit_code, first.stdout) == (0, f"schema none -> {HEAD}\n")
    monkeypatch.setenv("MAMBAAD_ARCHIVE__URL", postgresql_url.replace("+psycopg", ""))
    again = run(build_commands(), ["archive", "migrate"])
    assert (again.exit_code, again.stdout) == (0, f"nothing to do: the tables have schema {HEAD}\n")
    migrations = later(tmp_path / "later", COLUMN)
    assert migrate(postgresql_url, migrations) == Migration(HEAD, NEXT)
    assert migrate(postgresql_url) == Migration(NEXT, NEXT)  # a release before: it goes on


def test_a_postgresql_that_only_a_newer_release_can_write_is_refused(postgresql_url, tmp_path):
    migrate(postgresql_url, later(tmp_path / "later", COLUMN, oldest_writer=NEXT))
    with pytest.raises(SchemaUnusable, match=f"needs a release with schema '{NEXT}' or newer"):
        migrate(postgresql_url)


def test_a_postgresql_is_searched_only_if_this_release_can_use_its_tables(postgresql_url, tmp_path):
    with closing(CentralDatabase(postgresql_url, limit_s=10)) as database:
        for call in (lambda: database.change(lambda c: 7), lambda: read(database)):
            with pytest.raises(ArchiveUnavailable, match="run `mambaad archive migrate`"):
                call()
        migrate(postgresql_url)
        assert read(database) == []
    migrate(postgresql_url, later(tmp_path / "later", COLUMN, oldest_writer=NEXT))
    with (
        closing(CentralDatabase(postgresql_url, limit_s=10)) as database,
        pytest.raises(ArchiveUnavailable, match=f"needs a release with schema '{NEXT}'"),
    ):
        read(database)


def read(database: CentralDatabase) -> list[object]:
    with database.reading() as connection:
        return list(connection.execute(select(inspections)).all())


def test_two_migrations_at_once_are_one(postgresql_url):
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(migrate, [postgresql_url] * 4))
    assert sorted(one.before or "" for one in done) == ["", HEAD, HEAD, HEAD]


def test_a_postgresql_migration_that_fails_leaves_nothing(postgresql_url, tmp_path):
    migrate(postgresql_url)
    broken = later(tmp_path / "later", f'{COLUMN}; op.execute("nonsense")')
    with pytest.raises(SchemaUnusable, match="nonsense"):
        migrate(postgresql_url, broken)
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        (colour,) = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE column_name = 'colour'"
        ).fetchone()
    assert colour == 0


def test_tables_of_another_program_are_left_alone(postgresql_url):
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
    migrate(postgresql_url)
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("theirs",)]
        connection.execute("DROP TABLE archive_revision")
    with pytest.raises(SchemaUnusable, match=r"another program made its tables \(compatibility"):
        migrate(postgresql_url)


def test_a_postgresql_with_another_encoding_is_refused(postgresql_server):
    plain = postgresql_server.url("latin").replace("+psycopg", "")
    with psycopg.connect(
        postgresql_server.url().replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(SchemaUnusable, match="stores texts as LATIN1: create one with"):
            migrate(plain)
    finally:
        postgresql_server.drop_database(plain)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///journal.db", "expected a URL such as postgresql://"),
        ("no url", "expected a URL such as postgresql://"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be migrated: connection failed"),
    ],
)
def test_a_command_without_a_postgresql_says_why(url, why):
    answer = CliRunner().invoke(build_commands(), ["archive", "migrate", url])
    assert answer.exit_code == 2
    assert why in " ".join(answer.stderr.split())


def test_texts_are_stored_alike_in_both_databases():
    assert PlainText().process_bind_param("a\0b\ud83d", None) == "a\ufffdb\ufffd"
    assert PlainText().process_bind_param("😀", None) == "😀"
    assert PlainText().process_bind_param(None, None) is None
