"""`mambaad state`: the routes, thresholds and keys that several nodes share in a PostgreSQL."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.sharing import Url, opened, refuse, state_settings
from service.settings import Settings
from service.settings.secrets import SecretUnreadable

commands = typer.Typer(
    help="Share routes, thresholds and keys between nodes, in a PostgreSQL. Put its password into "
    "MAMBAAD_STATE__PASSWORD_FILE, PGPASSWORD or ~/.pgpass.",
    no_args_is_help=True,
)

_BAR = 1000


@commands.command()
def migrate(url: Url = None) -> None:
    """Bring the PostgreSQL to this release's tables; older releases can go on using it."""
    settings = state_settings("state", url)
    with opened("state", settings):
        from service.shared.tables import STEPS  # noqa: PLC0415 - keeps --help fast

        assert settings is not None and settings.url is not None, "`opened` refuses"
        try:
            password = settings.password()
            secret = password.get_secret_value() if password else None
            migration = STEPS.migrate(settings.url, secret)
        except (ValueError, SecretUnreadable) as error:
            refuse("state", str(error))
    if migration.before == migration.after:
        typer.echo(f"nothing to do: the tables have schema {migration.after}")
    else:
        typer.echo(f"schema {migration.before or 'none'} -> {migration.after}")


@commands.command("import")
def bring(
    state: Annotated[
        Path | None,
        typer.Option(
            help="State folder with routes, thresholds and audit; by default "
            "MAMBAAD_VERSIONS__STATE_DIR."
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Keys file; by default MAMBAAD_ACCESS__API_KEYS_FILE.")
    ] = None,
    last: Annotated[
        Path | None,
        typer.Option(help="State folder of a node, to bring its last shared state there instead."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the state that is there.")
    ] = False,
    url: Url = None,
) -> None:
    """Bring this node's routes, thresholds, keys and audit into the PostgreSQL; all or nothing."""
    with opened("state", state_settings("state", url)) as (link, author):
        from service.shared import transfer  # noqa: PLC0415 - keeps --help fast

        if last is not None:
            if state or keys:
                refuse("state", "--last brings keys and routes: give neither --state nor --keys")
            source = transfer.last_source(last)
        else:
            settings = Settings()
            source = transfer.local_source(
                state or settings.versions.state_dir, keys or settings.access.api_keys_file
            )
        with typer.progressbar(length=_BAR, label="Importing", file=_stderr()) as bar:
            done = transfer.import_state(
                link,
                source,
                author,
                replace=replace,
                show=lambda fraction: bar.update(round(_BAR * fraction) - bar.pos),
            )
    typer.echo(
        f"version {done.place.version}: {len(done.deployment.routes)} routes, "
        f"{sum(map(len, done.deployment.thresholds.values()))} thresholds, {len(done.keys)} keys, "
        f"{len(source.audit)} changes in the audit"
    )


@commands.command()
def export(
    folder: Annotated[Path, typer.Argument(help="New folder for the files.")], url: Url = None
) -> None:
    """Write deployment.json, audit.jsonl and keys.json, as a service that shares nothing reads."""
    with opened("state", state_settings("state", url)) as (link, _):
        from service.shared import transfer  # noqa: PLC0415 - keeps --help fast

        state = transfer.export_state(link, folder)
    typer.echo(f"{folder}: version {state.place.version}, {len(state.keys)} keys")


@commands.command()
def show(url: Url = None) -> None:
    """Say which version the PostgreSQL has, and who made it."""
    with opened("state", state_settings("state", url)) as (link, _):
        from service.shared import transfer  # noqa: PLC0415 - keeps --help fast

        state = transfer.read_state(link)
    typer.echo(
        f"version {state.place.version} by {state.who} on {state.node} at {state.at:%Y-%m-%d %H:%M}"
    )
    for category, assignment in sorted(state.deployment.routes.items()):
        roles = ", ".join(f"{role} {key}" for role, key in assignment.roles())
        typer.echo(f"  {category}: {roles}")
    typer.echo(f"  keys: {', '.join(sorted(key.name for key in state.keys)) or 'none'}")


@commands.command()
def confirm(
    above: Annotated[
        int, typer.Option(help="The highest version that any node knows; its log names it.")
    ],
    url: Url = None,
) -> None:
    """Make the PostgreSQL's state the newest for all nodes, after an old backup was restored."""
    with opened("state", state_settings("state", url)) as (link, author):
        from service.shared import transfer  # noqa: PLC0415 - keeps --help fast

        state = transfer.confirm_state(link, author, above)
    typer.echo(f"version {state.place.version}: all nodes follow it")


def _stderr() -> typer.FileTextWrite:
    return typer.get_text_stream("stderr")  # type: ignore[return-value]
