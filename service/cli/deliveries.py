"""`mambaad deliveries`: what waits for each sink, and sending it again."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import quote

import typer

if TYPE_CHECKING:
    import httpx

_REFUSED = 2
"""Exit code of a command that could not do what it was asked."""

commands = typer.Typer(
    invoke_without_command=True,
)

Url = Annotated[
    str | None, typer.Option(help="URL of the service; by default MAMBAAD_URL or this machine.")
]
Key = Annotated[
    str | None,
    typer.Option(help="API key; better in MAMBAAD_API_KEY, where others cannot see it."),
]
Sink = Annotated[str, typer.Argument(metavar="SINK", help="The sink's name in the settings.")]


@commands.callback()
def show(context: typer.Context, url: Url = None, key: Key = None) -> None:
    """Show what waits for each sink of a running service, and send it again.

    For example:

      mambaad deliveries --url http://line-3:8000

      mambaad deliveries retry mes
    """
    if context.invoked_subcommand is not None:
        context.obj = (url, key)
        return
    with _asking((url, key)) as ask:
        sinks = ask("GET", "/deliveries")["sinks"]
    if not sinks:
        typer.echo("This service has no sinks.", err=True)
        return
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.text import Text  # noqa: PLC0415

    from model.tables import NamedRows  # noqa: PLC0415

    headings = ["Type", "State", "Waiting", "Oldest", "Delivered", "Dead", "Position"]
    table = NamedRows("", "Sink", headings)
    for sink in sinks:
        table.add(sink["sink"], _cells(sink))
    console = Console(highlight=False)
    console.print(table)
    for sink in sinks:
        if sink["last_error"]:
            text = f"{sink['sink']}, {_local(sink['last_error_at'])}: {sink['last_error']}"
            console.print(Text(_printable(text)), soft_wrap=True)


@commands.command()
def retry(context: typer.Context, sink: Sink, url: Url = None, key: Key = None) -> None:
    """Try a held sink now, and send its dead letters again."""
    with _asking((url, key), context) as ask:
        answer = ask("POST", f"/deliveries/{quote(sink, safe='')}/retry")
    typer.echo(f"{sink} is tried now; dead letters sent again: {answer['dead_letters']}")


@commands.command()
def replay(
    context: typer.Context,
    sink: Sink,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Journaled at this time or later: 2026-11-29 or 2026-11-29T06:00 (local), or with "
            "a zone, 2026-11-29T06:00Z.",
        ),
    ],
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Journaled before this time; default: now.")
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Send the events of a period again, among new ones."""
    period = {
        "since": _time("since", since).isoformat(),
        "until": (_time("until", until) if until else datetime.now().astimezone()).isoformat(),
    }
    with _asking((url, key), context) as ask:
        ask("POST", f"/deliveries/{quote(sink, safe='')}/replay", json=period)
    typer.echo(f"{sink} is sent the events from {period['since']} to {period['until']} again")


@commands.command()
def dead(
    context: typer.Context,
    sink: Sink,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most dead letters to print.")] = 100,
    url: Url = None,
    key: Key = None,
) -> None:
    """List what the sink's receiver can never take, newest first, and why."""
    path = f"/deliveries/{quote(sink, safe='')}/dead-letters"
    with _asking((url, key), context) as ask:
        letters = ask("GET", path, params={"limit": limit})["dead_letters"]
    for letter in letters:
        line = f"{_local(letter['at'])}  {letter['number']}  {letter['event_id']}  "
        typer.echo(line + _printable(letter["reason"]))
    if not letters:
        typer.echo(f"{sink} has no dead letters.", err=True)


@contextmanager
def _asking(
    given: tuple[str | None, str | None], context: typer.Context | None = None
) -> Iterator[Any]:
    """Yield a function that asks the service; ends the program if that fails.

    Options before the command's name apply if they are not given after it.
    """
    from service.cli.asking import Refused, ask, service_client  # noqa: PLC0415

    before = (context.obj if context is not None else None) or (None, None)
    url, key = (after or earlier for after, earlier in zip(given, before, strict=True))
    try:
        with service_client(url, key) as client:
            yield lambda method, path, **request: _json(ask(client, method, path, **request))
    except Refused as error:
        _refuse(str(error))


def _json(answer: "httpx.Response") -> Any:  # noqa: ANN401 - any JSON
    return answer.json()


def _cells(sink: dict[str, Any]) -> list[str]:
    if sink["breaker"] == "closed":
        state = "delivering"
    else:
        state = f"held, next try in {sink['next_try_s']:.0f} s"
    return [
        sink["type"],
        state,
        str(sink["depth"]),
        f"{sink['oldest_age_s']:.0f} s" if sink["depth"] else "-",
        str(sink["delivered"]),
        str(sink["dead_letters"]),
        str(sink["position"]),
    ]


def _time(option: str, text: str) -> datetime:
    """Return a time; without a zone it is local. Ends the program if it cannot be read."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        _refuse(
            f"--{option}: expected a time such as 2026-11-29 or 2026-11-29T06:00Z, got {text!r}"
        )


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _refuse(line: str) -> NoReturn:
    typer.echo(f"mambaad deliveries: {line}", err=True)
    raise typer.Exit(_REFUSED)
