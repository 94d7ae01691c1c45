"""The command `mambaad`: `serve`, `detect`, `keys`, `state`, `archive`, `deliveries`, and others.

Heavy imports happen inside commands, so that `--help` and invalid options answer at once.
"""

import gc
import logging
import signal
import sys
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from service.access.keys import KeysUnusable
from service.cli import archive as archive_commands
from service.cli import deliveries as delivery_commands
from service.cli import keys as key_commands
from service.cli import state as state_commands
from service.cli import station as station_commands
from service.cli.detect import detect
from service.cli.greeting import Url, say_ready
from service.settings import Settings, SettingsError, tune_torch, unknown_variables

if TYPE_CHECKING:
    from service.http.server import GracefulServer

logger = logging.getLogger("service.cli")

_OWN_PACKAGES = {"model", "service"}
_OBJECTS_BETWEEN_COLLECTIONS = 20_000


def main() -> None:
    """Run the command line."""
    tune_torch()
    build_commands()()


def build_commands() -> typer.Typer:
    """Add the service's commands to those of `model.cli`."""
    commands = _offline_commands() or typer.Typer(
        help="Inspect parts for defects.", no_args_is_help=True
    )
    # A repeated call is harmless: typer keeps the last command of a name.
    commands.command()(serve)
    commands.command()(detect)
    commands.add_typer(key_commands.commands, name="keys")
    commands.add_typer(state_commands.commands, name="state")
    commands.add_typer(archive_commands.commands, name="archive")
    commands.add_typer(delivery_commands.commands, name="deliveries")
    commands.add_typer(station_commands.commands, name="station")
    return commands


def _offline_commands() -> typer.Typer | None:
    """Import the offline commands; None if a package that only they need is missing."""
    try:
        from model.cli import app  # noqa: PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OWN_PACKAGES:
            raise
        typer.echo(
            f"{error.name} is not installed, so only `serve`, `detect`, `keys`, `state`, "
            "`archive`, `deliveries` and `station` are available; for the other commands: "
            "pip install 'mambaad-service[train]'",
            err=True,
        )
        return None
    return app


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint store to serve from.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Folder to keep routes, thresholds and every inspection in."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help='"cpu" or "cuda:N"; repeat the option for several devices.'),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes on each device.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each worker; by default all cores are divided.")
    ] = None,
    max_batch_size: Annotated[int | None, typer.Option(help="Images computed together.")] = None,
    max_queue_delay_ms: Annotated[
        float | None, typer.Option(help="How long a batch may wait to fill.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help='Compute on the workers of a Ray cluster: "auto" for the Ray node on this '
            "machine, or HOST:PORT of the head.",
        ),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="Folder of <category>/<image> to try the service with; by default `samples` next "
            "to the weights.",
        ),
    ] = None,
) -> None:
    """Serve the checkpoints over HTTP; options override variables named MAMBAAD_..."""
    settings = _settings(
        {
            "http": {"host": host, "port": port},
            "versions": {"weights_dir": weights, "state_dir": state},
            "workers": {
                "devices": tuple(device) if device else None,
                "workers_per_device": workers,
                "threads_per_worker": threads,
                "max_batch_size": max_batch_size,
                "max_queue_delay_ms": max_queue_delay_ms,
            },
            "cluster": {"address": cluster},
            "console": {"samples_dir": samples},
            "telemetry": {"log_level": log_level.upper() if log_level else None},
        }
    )
    run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until a signal, then finish all accepted requests and exit with status 0."""
    if lines := settings.contradictions():
        _refuse(*lines)
    _exit_on_signals()
    _keep_script_from_workers()
    from service.telemetry.logs import configure_logging  # noqa: PLC0415 - see the docstring

    configure_logging(settings.telemetry.log_level, settings.telemetry.log_format)
    _require_checkpoints(settings)
    from service.app import create_app  # noqa: PLC0415 - see the module's docstring
    from service.assembly.archiving import ArchiveUnusable  # noqa: PLC0415
    from service.http.server import (  # noqa: PLC0415
        CannotListen,
        GracefulServer,
        fit_open_files,
        listen,
        server_config,
    )
    from service.http.tls.certificate import Certificate, CertificateUnusable  # noqa: PLC0415
    from service.telemetry.tracing import TracingUnavailable  # noqa: PLC0415
    from service.versions.state import StateUnreadable  # noqa: PLC0415

    url = Url(settings.http)
    try:
        http = fit_open_files(settings.http)
        settings = settings.model_copy(update={"http": http})
        app = create_app(settings, on_ready=lambda: say_ready(app, str(url), settings))
        certificate = Certificate(http, app.state.metrics) if http.has_tls else None
    except (
        ArchiveUnusable, CannotListen, CertificateUnusable, KeysUnusable, StateUnreadable,
        TracingUnavailable,
    ) as error:  # fmt: skip
        _refuse(str(error))
    config = server_config(app, http, certificate)
    server = GracefulServer(config, app.state.shutdown, http.shutdown_grace_s, certificate)
    try:
        listener = listen(http)
    except CannotListen as error:
        _refuse(str(error))
    url.port = listener.getsockname()[1]
    _run(server, listener)


def _run(server: "GracefulServer", listener: socket) -> NoReturn:
    """Serve, then exit: with status 0 if all accepted requests were finished."""
    _tune_collector()
    server.run(sockets=[listener])
    if not server.started:
        _refuse("the service could not start; its log says why")
    raise typer.Exit(1 if server.force_exit else 0)


def _exit_on_signals() -> None:
    """End the program at once on a signal: before the server runs, no request must be finished."""
    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, lambda *_: sys.exit(0))


def _keep_script_from_workers() -> None:
    """Hide this program's file, which each spawned process would import again: 0.2 s and 8 MB."""
    vars(sys.modules["__main__"]).pop("__file__", None)


def _tune_collector() -> None:
    """Make the garbage collector run less often, and ignore all objects that exist now.

    By default it runs after every 700th new object, which is several times per request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def _settings(options: dict[str, dict[str, object]]) -> Settings:
    """Return the settings; `options` are by room, None if not given.

    Invalid values end the program with one line for each.
    """
    lines = [
        f"{name} is not a setting" + (f"; did you mean {near}?" if near else "")
        for name, near in unknown_variables().items()
    ]
    given: dict[str, Any] = {
        room: {name: value for name, value in fields.items() if value is not None}
        for room, fields in options.items()
    }
    try:
        settings = Settings(**given)
    except SettingsError as error:
        lines += str(error).splitlines()
    except ValidationError as error:
        lines += [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{_got(fault['input'])}"
            for fault in error.errors()
            if fault["type"] != "extra_forbidden"  # already listed as an unknown variable
        ]
    if lines:
        _refuse(*lines)
    return settings


def _got(value: object) -> str:
    """Return an invalid value for a message, unless it may hold a password or is a whole room."""
    is_shown = not isinstance(value, dict) and "@" not in str(value)
    return f", got {value!r}" if is_shown else ""


def _require_checkpoints(settings: Settings) -> None:
    """End the program if no checkpoint can be served because weights or a library are missing."""
    from model.checkpoints.store import Store  # noqa: PLC0415
    from model.errors import BackendUnavailable  # noqa: PLC0415 - see the module's docstring
    from model.runtimes.runtimes import library_for  # noqa: PLC0415

    weights = settings.versions.weights_dir
    store = Store(weights)
    for place, why in store.problems().items():
        logger.error("checkpoint %s cannot be read: %s", place, why)
    missing: list[str] = []
    for manifest in store.manifests():
        try:
            library_for(manifest, settings.workers.backend)
        except BackendUnavailable as error:
            missing.append(str(error))
        else:
            return
    if missing:
        _refuse(*missing)
    _refuse(f"no checkpoint in {weights}: create one with `mambaad train` or `mambaad import`")


def _refuse(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(f"mambaad serve: {line}", err=True)
    raise typer.Exit(2)
