"""Keys that sign what browsers and clients send back: cookies, cursors."""

import logging
import os
import secrets
from pathlib import Path

from model.bounded import read_regular
from model.durable import write_durably

logger = logging.getLogger("service.signing")

_KEY_BYTES = 32


def read_key(path: Path, signed: str) -> bytes:
    """Return the file's key, made and stored at the first call, so that what it signed stays valid.

    If the file cannot be written, the key is new, and what it signs (`signed` names it in the log)
    ends with the process.
    """
    try:
        key, _ = read_regular(path, _KEY_BYTES)
        if len(key) == _KEY_BYTES:
            return key
        logger.warning("%s has %d bytes instead of %d: made anew", path, len(key), _KEY_BYTES)
    except OSError:
        pass
    key = new_key()
    try:
        write_durably(path, key, 0o600)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        logger.warning("%s cannot be written (%s): %s end with this process", path, reason, signed)
    return key


def new_key() -> bytes:
    """Return a key for this process alone."""
    return secrets.token_bytes(_KEY_BYTES)
