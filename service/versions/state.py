"""What an operator has decided: routes and thresholds, kept over restarts, and who decided it.

    <state_dir>/deployment.json   what holds now, replaced in one step
    <state_dir>/audit.jsonl       every change, one JSON object a line, only ever appended to
    <state_dir>/.lock             held by the service that runs

Both are on the disk before a change takes effect, or neither is and it does not. Without a
`state_dir` they are kept in memory, until the service stops. A service that runs holds a lock on
the folder, which ends with its process however that ends.
"""

import logging
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from filelock import BaseFileLock, FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.durable import append_durably, replace_file, sync_folder
from model.inspection import Category
from service.errors import StateNotWritten
from service.versions.assignment import Assignment
from service.versions.thresholds import Threshold

logger = logging.getLogger("service.deployment")

DEPLOYMENT_FILE = "deployment.json"
AUDIT_FILE = "audit.jsonl"
LOCK_FILE = ".lock"
_RETRY_AFTER_S = 60


class StateUnreadable(Exception):
    """The state folder cannot be used; the message is for the one who starts the service."""


class State(BaseModel):
    """Everything that holds now: routes by category, thresholds by category and "name/version"."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    routes: Mapping[Category, Assignment] = {}
    thresholds: Mapping[Category, Mapping[str, Threshold]] = {}

    def with_route(self, category: Category, assignment: Assignment) -> "State":
        """Return the state with another route for the category."""
        return self.model_copy(update={"routes": {**self.routes, category: assignment}})

    def with_threshold(
        self, category: Category, model: str, threshold: Threshold | None
    ) -> "State":
        """Return the state with another threshold for the category; None for the calibrated one."""
        own = {name: t for name, t in self.thresholds.get(category, {}).items() if name != model}
        if threshold:
            own[model] = threshold
        return self.model_copy(update={"thresholds": {**self.thresholds, category: own}})


class AuditRecord(BaseModel):
    """One change: when, by whom, why, of what, from what to what."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    at: datetime
    who: str = Field(description="as the request says")
    reason: str
    caller: str = Field(description="as the request was let in: the name of its API key")
    action: Literal["threshold", "route"]
    category: Category
    model: str | None = Field(None, description="the version that a threshold is of")
    request_id: str
    before: dict[str, Any] | None = Field(alias="from")
    after: dict[str, Any] | None = Field(alias="to")


class Deployment:
    """The state and its audit, in memory and in a folder. One writer at a time.

    Raises `StateUnreadable` for a folder that cannot be made or files that are damaged.
    """

    def __init__(self, state_dir: Path | None) -> None:
        self._folder = state_dir
        self.release: Callable[[], object] = lambda: None
        self.state = State()
        self.audit: list[AuditRecord] = []
        if state_dir is None:
            logger.info(
                "no state_dir: changes of routes and thresholds last until the service stops"
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
        """Open it for a service that runs, and that nobody else shares it with until `release`.

        Raises `StateUnreadable`, also where another service has it.
        """
        lock = None if state_dir is None else _lock(state_dir)  # what is read then stays so
        deployment = cls(state_dir)
        if lock is not None:
            deployment.release = weakref.finalize(deployment, lock.release)
        return deployment

    def commit(self, state: State, record: AuditRecord) -> None:
        """Keep a new state and why it is new; blocks for the disk.

        Raises `StateNotWritten`, and then nothing has changed.
        """
        if self._folder is not None:
            try:
                _write(self._folder, state, record)
            except OSError as error:
                logger.error("the state cannot be written: %s", error)  # noqa: TRY400
                why = error.strerror or "the disk refused"
                raise StateNotWritten(
                    f"the change could not be kept and was not made: {why}; make the service's "
                    "state_dir writable, with space left, and try again",
                    _RETRY_AFTER_S,
                ) from error
        self.state = state
        self.audit.append(record)


def _lock(folder: Path) -> BaseFileLock:
    """Lock the folder, where its file system can; return what holds it until it is released."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnreadable(f"cannot use state_dir: {error}") from error
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise StateUnreadable(
            f"{folder} is the state_dir of another service that runs: give each one its own"
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.warning("%s cannot be locked (%s): let no other service use it", folder, error)
    return lock


def _read_state(path: Path) -> State:
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError as error:
        raise StateUnreadable(
            f"{path} is damaged: mend it, restore it, or move it away to start from the newest "
            f"versions and calibrated thresholds: {_first_fault(error)}"
        ) from error


def _read_audit(path: Path) -> list[AuditRecord]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole, end, torn = content.rpartition(b"\n")
    if torn:
        # A line is acknowledged once it is whole: what a power cut tore was never told to anyone.
        logger.warning("%s ends within a line: it is cut off there", path)
        with path.open("r+b") as file:
            file.truncate(len(whole) + len(end))
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            records.append(AuditRecord.model_validate_json(line))
        except ValidationError as error:
            raise StateUnreadable(
                f"{path} is damaged in line {number}: mend it, restore it, or move it away to "
                f"start another: {_first_fault(error)}"
            ) from error
    return records


def _write(folder: Path, state: State, record: AuditRecord) -> None:
    """Write the audit and the state; the last step, a rename, is the one that counts."""
    line = record.model_dump_json(by_alias=True).encode() + b"\n"
    take_back = append_durably(folder / AUDIT_FILE, line)
    try:
        replace_file(folder / DEPLOYMENT_FILE, state.model_dump_json(indent=2).encode() + b"\n")
    except OSError:
        take_back()
        raise
    try:
        sync_folder(folder)
    except OSError:  # by now the change is made, whatever comes of this
        logger.warning("a change of the state may not survive a power cut", exc_info=True)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
