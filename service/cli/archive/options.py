"""Options that several commands share: which archive, and which inspections."""

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.option_groups import OptionGroup
from service.cli.archive.refusing import refuse
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.api.inspections.queries import FilterQuery

ARCHIVE_FOLDER = "archive"

State = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The service's state folder; by default that of the environment's settings.",
    ),
]
Url = Annotated[
    str | None, typer.Option(help="URL of a running service to ask, such as http://line-3:8000.")
]
Key = Annotated[
    str | None,
    typer.Option(help="API key for --url; better in MAMBAAD_API_KEY, where others cannot see it."),
]


@dataclass(frozen=True, slots=True)
class SourceOptions(OptionGroup):
    """Which archive to read."""

    state: State = None
    url: Url = None
    key: Key = None
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="PostgreSQL to read, postgresql://..."),
    ] = None


@dataclass(frozen=True, slots=True)
class FilterOptions(OptionGroup):
    """Which inspections; all that are given must match."""

    category: Annotated[str | None, typer.Option(help="Kind of part.")] = None
    station: Annotated[str | None, typer.Option(help="Station.")] = None
    part: Annotated[str | None, typer.Option(help="Part id.")] = None
    job: Annotated[str | None, typer.Option(help="Job id.")] = None
    told: Annotated[
        str | None, typer.Option(help="Decision that the line acted on: OK, NG, REVIEW, UNDECIDED.")
    ] = None
    found: Annotated[str | None, typer.Option(help="Decision of the network.")] = None
    verdict: Annotated[
        str | None, typer.Option(help="Newest verdict: good, defective, unsure, or none.")
    ] = None
    model: Annotated[
        str | None, typer.Option(metavar="NAME[/VERSION]", help="Checkpoint that inspected.")
    ] = None
    origin: Annotated[str | None, typer.Option(help="line, test or late.")] = None
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Received at this time or later: 2026-11-29 or 2026-11-29T06:00 (local), or with "
            "a zone, 2026-11-29T06:00Z.",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--until", "--before", metavar="TIME", help="Received before this time."),
    ] = None
    min_score: Annotated[float | None, typer.Option(help="Lowest score, 0 to 1.")] = None
    max_score: Annotated[float | None, typer.Option(help="Highest score, 0 to 1.")] = None
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Held, or not held.")] = (
        None
    )
    open_review: Annotated[
        bool, typer.Option("--open-review", help="Told REVIEW or UNDECIDED, without a verdict.")
    ] = False

    def query(self) -> "FilterQuery":
        """Return the filter; ends the program if a value is invalid."""
        from pydantic import ValidationError  # noqa: PLC0415 - keeps --help fast

        from service.api.inspections.queries import FilterQuery  # noqa: PLC0415
        from service.errors import InvalidRequest  # noqa: PLC0415

        given = {
            _NAMES.get(field.name, field.name): getattr(self, field.name) for field in fields(self)
        }
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("since", "until"):
            if name in given:
                given[name] = _time(name, given[name])
        try:
            query = FilterQuery.model_validate(given)
            query.wanted  # noqa: B018 - checks that ranges are not empty
        except ValidationError as error:
            fault = error.errors()[0]
            name = _OPTIONS.get(str(fault["loc"][0]), str(fault["loc"][0])).replace("_", "-")
            refuse(f"--{name}: {fault['msg']}, got {fault['input']!r}")
        except InvalidRequest as error:
            refuse(str(error))
        return query


_NAMES = {"part": "part_id", "job": "job_id", "held": "is_held"}
_OPTIONS = {field: option for option, field in _NAMES.items()}


def _time(option: str, text: str) -> datetime:
    """Return a time; without a zone it is local. Ends the program if it cannot be read."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        refuse(f"--{option}: expected a time such as 2026-11-29 or 2026-11-29T06:00Z, got {text!r}")


def settings() -> Settings:
    """Return the settings of the environment; ends the program if they are invalid."""
    try:
        return Settings()
    except SettingsError as error:
        refuse(str(error))
    except ValueError as error:
        refuse(f"the environment has invalid settings: {error}")


def archive_folder(state: Path | None) -> Path:
    """Return the archive's folder; ends the program without one."""
    state = state or settings().versions.state_dir
    if state is None:
        refuse("which archive? give --state FOLDER, or set MAMBAAD_VERSIONS__STATE_DIR")
    folder = state / ARCHIVE_FOLDER
    if not (folder / "journal.db").is_file():
        refuse(
            f"there is no journal in {folder}: give the --state folder of a service that has "
            "inspected parts"
        )
    return folder
