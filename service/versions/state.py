"""The operators' routes and thresholds, and an audit of all changes; both survive restarts.

    <state_dir>/deployment.json   the current state, replaced in one step
    <state_dir>/audit.jsonl       every change, one JSON object a line, append-only
    <state_dir>/.lock             locked by the running service

A change takes effect only after both files are on disk; if one cannot be written, neither changes.
Without a `state_dir`, both are in memory until the service stops. The lock ends with the process,
however it ends.
"""

import logging
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

from filelock import BaseFileLock, FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.durable import append_durably, replace_file, sync_folder
from model.inspection import Category
from service.errors import StateNotWritten
from service.versions.assignment import Assignment
from service.versions.thresholds import Threshold

logger = logging.getLogger("service.deployment")

T = TypeVar("T")
Action: TypeAlias = Literal[
    "threshold",
    "route",
    "key-created",
    "key-withdrawn",
    "dead-letters",
    "replay",
    "state-imported",
    "state-confirmed",
]

DEPLOYMENT_FILE = "deployment.json"
AUDIT_FILE = "audit.jsonl"
LOCK_FILE = ".lock"
_RETRY_AFTER_S = 60


class StateUnreadable(Exception):
    """The state folder cannot be used; the message tells the operator why."""


class State(BaseModel):
    """Routes by category, and thresholds by category and "name/version"."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    routes: Mapping[Category, Assignment] = {}
    thresholds: Mapping[Category, Mapping[str, Threshold]] = {}

    def with_route(self, category: Category, assignment: Assignment) -> "State":
        """Return a copy with another route for the category."""
        return self.model_copy(update={"routes": {**self.routes, category: assignment}})

    def with_threshold(
        self, category: Category, model: str, threshold: Threshold | None
    ) -> "State":
        """Return a copy with another threshold for the category; None removes it."""
        by_model = dict(self.thresholds.get(category, {}))
        by_model.pop(model, None)
        if threshold:
            by_model[model] = threshold
        return self.model_copy(update={"thresholds": {**self.thresholds, category: by_model}})


class AuditRecord(BaseModel):
    """One change: of a category's route or threshold, or of a key or sink, the `subject`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    at: datetime
    who: str = Field(description="as the request says")
    reason: str
    caller: str = Field(description="as the request was let in: the name of its API key")
    action: Action
    category: Category | None = None
    subject: str | None = Field(None, description="the name of a key or sink")
    model: str | None = Field(None, description="the version that a threshold is of")
    request_id: str
    refused: str | None = Field(None, description="why the change was not made")
    before: dict[str, Any] | None = Field(alias="from")
    after: dict[str, Any] | None = Field(alias="to")


class Deployment:
    """The state and its audit, in memory and in a folder; for one writer at a time.

        deployment = Deployment.claim(Path("state"))
        deployment.commit(deployment.state.with_route("bolt", assignment), record)

    Raises `StateUnreadable` if the folder cannot be created or a file is damaged.
    """

    def __init__(self, state_dir: Path | None) -> None:
        self.is_shared = False
        self._folder = state_dir
        self.release: Callable[[], object] = lambda: None
        self.state = State()
        self.audit: list[AuditRecord] = []
        if state_dir is None:
            logger.info(
                "no state_dir is set: changes of routes and thresholds are lost at the next restart"
            )
            return
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self.state = _read_state(state_dir / DEPLOYMENT_FILE)
            self.audit = _read_audit(state_dir / AUDIT_FILE)
        except OSError as error:
            raise StateUnreadable(f"cannot use state_dir: {error}") from error

    @classmethod
    def claim(cls, state_dir: Path | None) -> Self:
        """Lock the folder until `release`, and read it.

        Raises `StateUnreadable`, also if another service has locked it.
        """
        # Before reading, so that nobody writes meanwhile.
        lock = None if state_dir is None else lock_folder(state_dir)
        deployment = cls(state_dir)
        if lock is not None:
            deployment.release = weakref.finalize(deployment, lock.release)
        return deployment

    def newer(self, record: AuditRecord) -> None:
        """Do nothing: nobody else writes the folder."""

    def commit(self, state: State, record: AuditRecord) -> None:
        """Write a new state and its audit record to disk; blocks.

        Raises `StateNotWritten`; then nothing has changed.
        """
        if self._folder is not None:
            try:
                _write(self._folder, state, record)
            except OSError as error:
                raise _not_written(error) from error
        self.state = state
        self.audit.append(record)

    def record(self, record: AuditRecord, make: Callable[[], T]) -> T:
        """Write the audit record of a change that is no state, and make the change; blocks.

        Raises `StateNotWritten`, or as `make` does; then there is neither change nor record.
        """
        take_back: Callable[[], None] = lambda: None  # noqa: E731
        if self._folder is not None:
            try:
                take_back = _append(self._folder, record)
            except OSError as error:
                raise _not_written(error) from error
        try:
            made = make()
        except BaseException:
            take_back()
            raise
        self.audit.append(record)
        return made


def lock_folder(folder: Path) -> BaseFileLock:
    """Return a lock on the folder; only warns if its file system cannot lock.

    Raises `StateUnreadable`, also if another service has locked it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnreadable(f"cannot use state_dir: {error}") from error
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise StateUnreadable(
            f"{folder} is the state_dir of another running service: give each service its own"
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.warning(
            "%s cannot be locked (%s): make sure that no other service uses it", folder, error
        )
    return lock


def _read_state(path: Path) -> State:
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError as error:
        raise StateUnreadable(
            f"{path} is damaged ({_first_fault(error)}): repair it, restore it, or move it away to "
            "start from the newest versions and calibrated thresholds"
        ) from error


def _read_audit(path: Path) -> list[AuditRecord]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    complete, newline, torn = content.rpartition(b"\n")
    if torn:
        # A power cut during the write. The change was not acknowledged to any client.
        logger.warning("%s ends with an incomplete line, which is removed", path)
        with path.open("r+b") as file:
            file.truncate(len(complete) + len(newline))
    records = []
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            records.append(AuditRecord.model_validate_json(line))
        except ValidationError as error:
            raise StateUnreadable(
                f"{path} is damaged in line {number} ({_first_fault(error)}): repair it, restore "
                "it, or move it away to start a new one"
            ) from error
    return records


def _write(folder: Path, state: State, record: AuditRecord) -> None:
    """Write the audit, then the state; the rename of the state commits the change."""
    take_back = _append(folder, record)
    try:
        replace_file(folder / DEPLOYMENT_FILE, state.model_dump_json(indent=2).encode() + b"\n")
    except OSError:
        take_back()
        raise
    try:
        sync_folder(folder)
    except OSError:  # the change is already made
        logger.warning("a change of the state may not survive a power cut", exc_info=True)


def _append(folder: Path, record: AuditRecord) -> Callable[[], None]:
    """Append a record to the audit; return a function that takes it back."""
    return append_durably(folder / AUDIT_FILE, line_of(record).encode() + b"\n")


def line_of(record: AuditRecord) -> str:
    """Return a record as a line of the audit."""
    # Records of categories stay as the previous release wrote them, so that it can read them.
    left_out = {name for name in ("subject", "refused") if getattr(record, name) is None}
    return record.model_dump_json(by_alias=True, exclude=left_out)


def _not_written(error: OSError) -> StateNotWritten:
    logger.error("the state cannot be written: %s", error)
    why = error.strerror or "the disk refused"
    return StateNotWritten(
        f"the change could not be written to disk and was not made: {why}; make the "
        "service's state_dir writable, free some space, and try again",
        _RETRY_AFTER_S,
    )


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
