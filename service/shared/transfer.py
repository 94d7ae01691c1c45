"""Brings a state into the PostgreSQL and back: for the commands `mambaad state` and `mambaad keys`.

with closing(Link(settings.state, node)) as link:
import_state(link, local_source(state_dir, keys_file), author)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model.durable import write_durably
from service.access.keys import ApiKey, KeysUnusable, read_keys, write_keys
from service.shared.copy import Copy
from service.shared.document import SharedState, first_state
from service.shared.link import Change, Link
from service.versions.state import (
    AUDIT_FILE,
    DEPLOYMENT_FILE,
    Action,
    AuditRecord,
    Deployment,
    State,
    StateUnreadable,
    line_of,
)

KEYS_FILE = "keys.json"
_AT_ONCE = 500


class TransferRefused(Exception):
    """The state was not brought there, and nothing was changed; the message says why."""


@dataclass(frozen=True, slots=True)
class CommandAuthor:
    """Who runs the command, and on which node."""

    who: str
    node: str

    def record(self, action: Action, reason: str, subject: str | None = None) -> AuditRecord:
        """Return the audit record of what the command does."""
        return AuditRecord(
            at=datetime.now(UTC),
            who=self.who,
            reason=reason,
            caller="command line",
            action=action,
            subject=subject,
            request_id="",
            before=None,
            after=None,
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A state to bring there; `last` is the shared one that a node knows, if it is from there."""

    deployment: State
    keys: Sequence[ApiKey]
    audit: Sequence[AuditRecord]
    last: SharedState | None = None


def local_source(state_dir: Path | None, keys_file: Path | None) -> Source:
    """Read the files of a service that shares nothing. Raises `TransferRefused`."""
    if state_dir is not None and not state_dir.is_dir():
        raise TransferRefused(f"{state_dir} is not a folder")
    try:
        local = Deployment(state_dir)
        keys = read_keys(keys_file) if keys_file is not None else ()
    except (StateUnreadable, KeysUnusable) as error:
        raise TransferRefused(str(error)) from error
    return Source(local.state, keys, local.audit)


def last_source(state_dir: Path) -> Source:
    """Read the last shared state that a node knows. Raises `TransferRefused`."""
    copy = Copy(state_dir)
    try:
        last = copy.read_state()
    except StateUnreadable as error:
        raise TransferRefused(str(error)) from error
    if last is None:
        raise TransferRefused(f"{state_dir} has no last state of a node")
    audit = [entry.record for entry in copy.read_audit()]
    return Source(last.deployment, last.keys, audit, last)


def import_state(
    link: Link,
    source: Source,
    author: CommandAuthor,
    *,
    replace: bool = False,
    show: Callable[[float], None] = lambda _: None,
) -> SharedState:
    """Write a state as the newest one, and the records that the PostgreSQL lacks; all or nothing.

    Raises `TransferRefused` if there is a state that it may not `replace`, or
    `SharedStateUnavailable`. `show` gets the fraction that is done.
    """
    with link.changing() as change:
        present = change.present
        if present is not None and not replace:
            raise TransferRefused(
                f"the PostgreSQL has a state already, version {present.place.version} by "
                f"{present.who}: nothing was changed. To replace it, give --replace"
            )
        record = author.record("state-imported", "mambaad state import")
        state = _imported(source, present, record, author.node)
        there = {line_of(known) for known in change.records()} if present else set()
        missing = [known for known in source.audit if line_of(known) not in there]
        for start in range(0, len(missing), _AT_ONCE):
            change.add(missing[start : start + _AT_ONCE], author.node)
            show(min(1.0, (start + _AT_ONCE) / len(missing)))
        change.write(state, record)
        show(1.0)
    return state


def _imported(
    source: Source, present: SharedState | None, record: AuditRecord, node: str
) -> SharedState:
    instead_of = present.place if present else None
    if source.last is not None:
        return source.last.declared_newest(record, node, instead_of=instead_of)
    if present is None:
        return first_state(source.deployment, source.keys, record, node)
    content = {"deployment": source.deployment, "keys": tuple(source.keys)}
    return present.model_copy(update=content).declared_newest(record, node)


def confirm_state(link: Link, author: CommandAuthor, above: int) -> SharedState:
    """Declare the PostgreSQL's state the newest, with a version over `above`.

    Raises `TransferRefused` or `SharedStateUnavailable`.
    """
    with link.changing() as change:
        record = author.record("state-confirmed", "mambaad state confirm")
        state = _present(change).declared_newest(record, author.node, above=above)
        change.write(state, record)
    return state


def export_state(link: Link, folder: Path) -> SharedState:
    """Write the files of a service that shares nothing into a new folder.

    Raises `TransferRefused`, also if the folder is there, or `SharedStateUnavailable`.
    """
    with link.changing() as change:
        state, audit = _present(change), change.records()
    try:
        folder.mkdir(parents=True)
        content = state.deployment.model_dump_json(indent=2).encode() + b"\n"
        write_durably(folder / DEPLOYMENT_FILE, content)
        lines = b"".join(line_of(record).encode() + b"\n" for record in audit)
        write_durably(folder / AUDIT_FILE, lines)
        write_keys(folder / KEYS_FILE, state.keys)
    except OSError as error:
        raise TransferRefused(f"{folder} cannot be written: {error.strerror}") from error
    return state


def read_state(link: Link) -> SharedState:
    """Return the PostgreSQL's state. Raises `SharedStateUnavailable`."""
    state = link.read(None, 0).state
    assert state is not None, "nothing was known before"
    return state


def change_keys(
    link: Link,
    author: CommandAuthor,
    record: AuditRecord,
    change_of: Callable[[Sequence[ApiKey]], Sequence[ApiKey]],
) -> None:
    """Replace the keys. Raises as `change_of`, `TransferRefused` or `SharedStateUnavailable`."""
    with link.changing() as change:
        present = _present(change)
        keys = change_of(present.keys)
        change.write(present.followed_by(record, author.node, keys=keys), record)


def _present(change: Change) -> SharedState:
    if change.present is None:
        raise TransferRefused("the PostgreSQL has no state: bring one with `mambaad state import`")
    return change.present
