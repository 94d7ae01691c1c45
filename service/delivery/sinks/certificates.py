"""TLS from the files of the settings.

context = tls_context(settings)
"""

import ssl
from pathlib import Path

from service.settings.sinks import TlsSettings


class CertificateUnusable(Exception):
    """A certificate or key cannot be read, or is none; the message names the file."""


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return a context that checks the other side. Raises `CertificateUnusable`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise CertificateUnusable(_reason([settings.ca_file], error)) from error
    if settings.certificate_file is not None:
        try:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
        except OSError as error:
            files = [settings.certificate_file, settings.key_file]
            raise CertificateUnusable(_reason(files, error)) from error
    return context


def _reason(files: list[Path | None], error: OSError) -> str:
    names = " or ".join(str(file) for file in files if file is not None) or "the system's"
    return f"the certificate cannot be read from {names}: {error.strerror or error}"
