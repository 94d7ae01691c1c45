"""The authority that a client trusts."""

import ssl
from pathlib import Path


def trust(ca_file: Path | str | None) -> ssl.SSLContext | bool:
    """Return httpx's `verify`: the authority of a file alone, or the public ones.

    Raises `ValueError` for a file without certificates.
    """
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(
            f"the certificates in {ca_file} cannot be read: {error.strerror or error}"
        ) from error
