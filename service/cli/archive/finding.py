"""`mambaad archive search` and `show`."""

from itertools import chain, islice
from typing import Annotated

import typer

from model.option_groups import grouped
from service.cli.archive.options import FilterOptions, SourceOptions
from service.cli.archive.refusing import refuse, refusing


@grouped
def search(
    wanted: FilterOptions,
    source: SourceOptions,
    limit: Annotated[int, typer.Option(min=1, help="Most inspections to print.")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each inspection.")
    ] = False,
) -> None:
    """Find inspections, newest first.

    Reads the journal of --state, also beside its running service; or asks the service at --url, or
    the PostgreSQL at --database. For example:

      mambaad archive search --state state --station EL-3 --told NG --since 2026-11-29

      mambaad archive search --url http://line-3:8000 --open-review
    """
    from service.cli.archive.printing import print_table  # noqa: PLC0415 - keeps --help fast
    from service.cli.archive.sources import open_source  # noqa: PLC0415

    query = wanted.query()
    with refusing(), open_source(source) as opened:
        rows = list(islice(chain.from_iterable(opened.pages(query)), limit + 1))
    if as_json:
        for row in rows[:limit]:
            typer.echo(row.model_dump_json())
    elif rows:
        print_table(rows[:limit])
    if len(rows) > limit:
        typer.echo(f"More than {limit} match: --limit prints more, other options narrow.", err=True)
    elif not rows:
        typer.echo("No inspection matches.", err=True)


@grouped
def show(
    inspection: Annotated[str, typer.Argument(metavar="ID", help="The inspection's id.")],
    source: SourceOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print all that is known of an inspection, and where its images are."""
    from service.archive.identifiers import parse_id  # noqa: PLC0415 - keeps --help fast
    from service.cli.archive.printing import print_inspection  # noqa: PLC0415
    from service.cli.archive.sources import open_source  # noqa: PLC0415

    try:
        identifier = parse_id(inspection)
    except ValueError as error:
        refuse(str(error))
    with refusing(), open_source(source) as opened:
        row = opened.find(identifier)
        paths = [opened.path(row, view.view) for view in row.views]
    if as_json:
        typer.echo(row.model_dump_json(indent=2))
    else:
        print_inspection(row, paths)
