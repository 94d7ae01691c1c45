"""The service's certificate and key, read again when their files change.

    certificate = Certificate(settings, metrics)
    ssl_object = certificate.context.wrap_bio(incoming, outgoing, server_side=True)
    await certificate.follow()

A renewed certificate gets a context of its own, which later connections use: files that do not
belong together leave the context in force as it is.
"""

import asyncio
import logging
import os
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from model.bounded import read_regular
from service.http.tls.validity import Validity, validity_of
from service.settings.http import HttpSettings
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.tls")

RECHECK_S = 60.0
_MAX_FILE_BYTES = 2**20
_MAX_PASSWORD_BYTES = 2**12

Stamps: TypeAlias = tuple[tuple[int, ...], ...]


class CertificateUnusable(Exception):
    """Certificate and key cannot be used together; the message names the file and the remedy."""


class Certificate:
    """The certificate in force: its context for new connections, and its expiry as a metric."""

    def __init__(self, settings: HttpSettings, metrics: Metrics) -> None:
        """Read the files. Raises `CertificateUnusable`."""
        assert settings.tls_certificate is not None
        assert settings.tls_key is not None
        self._file, self._key = settings.tls_certificate, settings.tls_key
        self._password_file = settings.tls_key_password_file
        self._metrics = metrics
        self._fault: str | None = None
        self._stamps = self._stamped()
        self.context, validity = self._read()
        self._note(validity)
        _warn_of_readers(self._key)

    def following_context(self) -> ssl.SSLContext:
        """Return a context that gives each connection the newest one, for a server of asyncio's."""
        context = self._context()

        def switch(connection: ssl.SSLObject, _name: str | None, _context: object) -> None:
            connection.context = self.context

        context.sni_callback = switch  # called without a name as well
        return context

    async def follow(self) -> None:
        """Read the files again if they changed; while they are unusable, keep the last context."""
        stamps = await asyncio.to_thread(self._stamped)
        if stamps == self._stamps:
            return
        try:
            self.context, validity = await asyncio.to_thread(self._read)
        except CertificateUnusable as error:
            if str(error) != self._fault:
                self._fault = str(error)
                logger.error("%s; new connections get the certificate read before", error)  # noqa: TRY400 - the message says all
            return
        self._stamps, self._fault = stamps, None
        logger.info("read the renewed certificate %s", self._file)
        self._note(validity)
        _warn_of_readers(self._key)

    def _stamped(self) -> Stamps:
        """Return what changes with each file; a missing file has no stamp."""
        stamps = []
        for file in (self._file, self._key, self._password_file):
            try:
                status = file.stat() if file else None
            except OSError:
                status = None
            stamps.append(
                (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
                if status
                else ()
            )
        return tuple(stamps)

    def _read(self) -> tuple[ssl.SSLContext, Validity]:
        try:
            validity = validity_of(_text(self._file, "certificate", _MAX_FILE_BYTES))
        except ValueError as error:
            raise CertificateUnusable(
                f"the certificate {self._file} cannot be used: {error}"
            ) from error
        _text(self._key, "key", _MAX_FILE_BYTES)
        return self._context(), validity

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._file, self._key, self._password)
        except ssl.SSLError as error:
            raise CertificateUnusable(self._reason(error)) from error
        except OSError as error:
            raise CertificateUnusable(
                f"{self._file} or {self._key} cannot be read: {error.strerror}"
            ) from error
        return context

    def _password(self) -> str:
        """Return the key's password; without this function OpenSSL would ask at the terminal."""
        if self._password_file is None:
            raise CertificateUnusable(
                f"the key {self._key} is encrypted: name a file with its password in "
                "MAMBAAD_HTTP__TLS_KEY_PASSWORD_FILE"
            )
        return _text(self._password_file, "password", _MAX_PASSWORD_BYTES).rstrip("\r\n")

    def _reason(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key {self._key} does not belong to the certificate {self._file}"
        if self._password_file is not None:
            return (
                f"the key {self._key} cannot be read with the password in {self._password_file}, "
                f"or it is no PEM key: {error.reason or error}"
            )
        return (
            f"{self._file} and {self._key} are no PEM certificate and key: {error.reason or error}"
        )

    def _note(self, validity: Validity) -> None:
        self._metrics.certificate_expiry.set(validity.ends.timestamp())
        now = datetime.now(UTC)
        if validity.ends <= now:
            logger.warning(
                "the certificate %s expired on %s: clients refuse it until it is renewed",
                self._file,
                f"{validity.ends:%Y-%m-%d %H:%M} UTC",
            )
        elif validity.begins > now:
            logger.warning(
                "the certificate %s is valid only from %s on: check the clock of this machine",
                self._file,
                f"{validity.begins:%Y-%m-%d %H:%M} UTC",
            )


def _text(file: Path, what: str, max_bytes: int) -> str:
    try:
        content, _ = read_regular(file, max_bytes)
    except OSError as error:
        raise CertificateUnusable(
            f"the {what} {file} cannot be read: {error.strerror or error}"
        ) from error
    return content.decode("utf-8", "replace")


def _warn_of_readers(key: Path) -> None:
    if os.name == "posix" and key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        logger.warning("others may read or change the key %s: run chmod o-rwx,g-w %s", key, key)
