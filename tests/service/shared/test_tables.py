"""The steps make exactly the tables that the code uses."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from service.archive.migrate import check_central, migrate
from service.shared.tables import STEPS, metadata


def test_the_steps_make_the_tables_of_the_code(state_url):
    engine = create_engine(state_url)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": STEPS.version_table, "compare_server_default": True},
        )
        assert compare_metadata(context, metadata) == []
        STEPS.check(connection)
    engine.dispose()


def test_the_archive_and_the_shared_state_may_be_in_one_database(state_url):

    migrate(state_url)
    engine = create_engine(state_url)
    with engine.begin() as connection:
        check_central(connection)
        STEPS.check(connection)
    engine.dispose()
