"""What a node knows of the shared state, in its state folder: it goes on from there.

<state_dir>/shared.json          the last state, with its version; mode 0600, hashes of keys only
<state_dir>/shared-audit.jsonl   the audit, so far as this node has read it
<state_dir>/refused.jsonl        changes that were refused here while the PostgreSQL was away
"""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from model.durable import append_durably, write_durably
from service.shared.document import SharedState
from service.shared.rows import Numbered
from service.versions.state import AuditRecord, StateUnreadable, line_of

logger = logging.getLogger("service.shared")

STATE_FILE = "shared.json"
AUDIT_FILE = "shared-audit.jsonl"
REFUSED_FILE = "refused.jsonl"
_PRIVATE = 0o600


class Copy:
    """The files of one folder, which is locked by its service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_state(self) -> SharedState | None:
        """Return the last state; None if this node has never had one. Raises `StateUnreadable`."""
        path = self._folder / STATE_FILE
        try:
            return SharedState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise StateUnreadable(
                f"{path} cannot be read or is damaged: move it away, and this node takes the state "
                "of the PostgreSQL as it is there"
            ) from error

    def write_state(self, state: SharedState) -> None:
        """Replace the last state, durably. Raises `OSError`."""
        content = state.model_dump_json(indent=2).encode() + b"\n"
        write_durably(self._folder / STATE_FILE, content, _PRIVATE)

    def read_audit(self) -> list[Numbered]:
        """Return the audit up to the first line that is not whole; the PostgreSQL has the rest."""
        records: list[Numbered] = []
        path = self._folder / AUDIT_FILE
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError:
            return records
        for line in lines:
            try:
                values = json.loads(line)
                record = AuditRecord.model_validate_json(values["record"])
                records.append(Numbered(int(values["number"]), record))
            except (ValueError, KeyError, TypeError):
                logger.warning("%s ends with a damaged line, which is read again", path)
                with suppress(OSError):
                    self.replace_audit(records)
                break
        return records

    def forget_audit(self) -> None:
        """Remove the audit, which belongs to no state that this node has."""
        with suppress(OSError):
            (self._folder / AUDIT_FILE).unlink(missing_ok=True)

    def replace_audit(self, records: Sequence[Numbered]) -> None:
        """Write the whole audit."""
        write_durably(self._folder / AUDIT_FILE, b"".join(map(_line, records)), _PRIVATE)

    def append_audit(self, records: Sequence[Numbered]) -> None:
        """Append to the audit; what a power cut takes is read from the PostgreSQL again."""
        if records:
            descriptor = os.open(
                self._folder / AUDIT_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _PRIVATE
            )
            with os.fdopen(descriptor, "ab") as file:
                file.write(b"".join(map(_line, records)))

    def read_refused(self) -> list[AuditRecord]:
        """Return the changes that were refused here, the oldest first."""
        refused = []
        with suppress(OSError):
            for line in (self._folder / REFUSED_FILE).read_bytes().splitlines():
                with suppress(ValidationError):  # a power cut during the write
                    refused.append(AuditRecord.model_validate_json(line))
        return refused

    def add_refused(self, record: AuditRecord) -> None:
        """Append a refused change, durably. Raises `OSError`."""
        append_durably(self._folder / REFUSED_FILE, line_of(record).encode() + b"\n")


def _line(numbered: Numbered) -> bytes:
    values = {"number": numbered.number, "record": line_of(numbered.record)}
    return json.dumps(values).encode() + b"\n"
