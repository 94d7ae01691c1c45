"""`mambaad station opcua-certificate` and `opcua-user`: files that `plc.opcua` names."""

import socket
from pathlib import Path
from typing import Annotated, NoReturn

import typer

_UNUSABLE = 2


def make_certificate(
    folder: Annotated[
        Path, typer.Argument(help="Folder that receives certificate.der and key.pem.")
    ],
    *,
    uri: Annotated[
        str | None,
        typer.Option(help="Application URI; by default urn:HOST:mambaad:station."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which clients reach the station; repeat it."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days until it expires.")] = 1_825,
) -> None:
    """Make a self-signed OPC UA certificate and its key, for the station or for a client."""
    _import_or_refuse()
    from service.station.plc.opcua.security.certificates import (  # noqa: PLC0415 - keeps --help fast
        CertificateUnusable,
        default_uri,
        make_identity,
    )

    hosts = host or [socket.gethostname(), "localhost", "127.0.0.1"]
    uri = uri or default_uri()
    try:
        certificate, key = make_identity(folder, uri, hosts, days)
    except CertificateUnusable as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{folder}: {error.strerror}")
    typer.echo(f"{certificate}: {uri}, for {', '.join(hosts)}, {days} days\n{key}: keep it secret")


def set_user(
    file: Annotated[Path, typer.Argument(help="File of users; it is made if necessary.")],
    name: Annotated[str, typer.Argument(help="Name of the user.")],
    *,
    role: Annotated[str, typer.Option(help="read or command.")] = "read",
    password: Annotated[
        str,
        typer.Option(
            prompt=True, hide_input=True, confirmation_prompt=True,
            help="Password; without this option the command asks for it.",
        ),
    ],
) -> None:  # fmt: skip
    """Add an OPC UA user, or give one a new role and password; the file has a hash of it."""
    _import_or_refuse()
    from service.station.plc.opcua.security.passwords import (  # noqa: PLC0415
        Role,
        UsersUnusable,
    )
    from service.station.plc.opcua.security.passwords import set_user as write_user  # noqa: PLC0415

    if role not in list(Role):
        _refuse(f"expected the role read or command, got {role!r}")
    try:
        write_user(file, name, Role(role), password)
    except (UsersUnusable, ValueError) as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{file}: {error.strerror}")
    typer.echo(f"{file}: {name} may {role}")


def _import_or_refuse() -> None:
    try:
        import asyncua  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed: pip install 'mambaad-service[opcua]'")


def _refuse(text: str) -> NoReturn:
    typer.echo(f"mambaad station: {text}", err=True)
    raise typer.Exit(_UNUSABLE)
