"""Certificates: the server's own, those of clients that are trusted, and how to make one.

trust = Trust(Path("trusted"))
trust.check(certificate_bytes, application_uri)  # raises CertificateRefused
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model.durable import write_durably

CERTIFICATE_NAME = "certificate.der"
KEY_NAME = "key.pem"
REFUSED_FOLDER = "refused"
_SUFFIXES = (".der", ".crt", ".cer", ".pem")
_MOST_REFUSED_FILES = 50
_KEY_BITS = 2048
_FEWEST_BITS, _MOST_BITS = 2048, 4096  # of the policy Basic256Sha256


class CertificateUnusable(Exception):
    """A certificate or key of the server cannot be used; the message says why."""


class CertificateRefused(Exception):
    """A client's certificate is refused; `status` is the answer to the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Identity:
    """The server's certificate and key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    application_uri: str


class Trust:
    """The folder of trusted certificates, read anew for each client.

    A refused certificate is copied into the folder `refused`; an operator trusts it by moving it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, content: bytes, application_uri: str) -> None:
        """Return for a certificate that is trusted and valid now. Raises `CertificateRefused`."""
        try:
            certificate = x509.load_der_x509_certificate(first_certificate(content))
            uris = _uris(certificate)
        except ValueError as error:
            raise CertificateRefused(
                ua.StatusCodes.BadCertificateInvalid, "the certificate cannot be read"
            ) from error
        name = f"the certificate {certificate.subject.rfc4514_string()!r} ({application_uri})"
        if certificate.public_bytes(serialization.Encoding.DER) not in self.trusted():
            raise CertificateRefused(
                ua.StatusCodes.BadCertificateUntrusted,
                f"{name} is not trusted; {self._keep(content)}",
            )
        if why := _invalid_now(certificate):
            raise CertificateRefused(ua.StatusCodes.BadCertificateTimeInvalid, f"{name} {why}")
        if application_uri not in uris:
            raise CertificateRefused(
                ua.StatusCodes.BadCertificateUriInvalid,
                f"{name} is for {', '.join(uris) or 'no application'}",
            )

    def trusted(self) -> set[bytes]:
        """Return the trusted certificates, as DER; files that are no certificates are left out."""
        trusted = set()
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            if path.suffix.lower() in _SUFFIXES and path.is_file():
                try:
                    certificate = _read_certificate(path)
                except CertificateUnusable:
                    continue
                trusted.add(certificate.public_bytes(serialization.Encoding.DER))
        return trusted

    def _keep(self, content: bytes) -> str:
        """Copy a certificate into the folder of refused ones; say how to trust it."""
        folder = self.folder / REFUSED_FOLDER
        digest = hashes.Hash(hashes.SHA256())
        digest.update(content)
        path = folder / f"{digest.finalize().hex()[:32]}.der"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                if len(list(folder.iterdir())) >= _MOST_REFUSED_FILES:
                    return (
                        f"to trust it, empty {folder}, connect again, and move it to {self.folder}"
                    )
                write_durably(path, content)
        except OSError as error:
            return f"to trust it, copy it to {self.folder} (it could not be kept: {error.strerror})"
        return f"to trust it, move {path} to {self.folder}"


def first_certificate(content: bytes) -> bytes:
    """Return the first certificate of a chain in DER; a chain is one after the other."""
    if len(content) < 4 or content[:2] != b"\x30\x82":
        return content
    return content[: 4 + int.from_bytes(content[2:4], "big")]


def read_identity(certificate_path: Path, key_path: Path) -> Identity:
    """Return the server's certificate and key. Raises `CertificateUnusable`."""
    certificate = _read_certificate(certificate_path)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        raise CertificateUnusable(f"{key_path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise CertificateUnusable(
            f"{key_path}: expected a private key in PEM, without a password"
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateUnusable(f"{key_path} is not the RSA key of {certificate_path}")
    if not _FEWEST_BITS <= key.key_size <= _MOST_BITS:
        raise CertificateUnusable(
            f"{key_path}: expected {_FEWEST_BITS} to {_MOST_BITS} bits, got {key.key_size}"
        )
    if why := _invalid_now(certificate):
        raise CertificateUnusable(f"{certificate_path} {why}")
    uris = _uris(certificate)
    if not uris:
        raise CertificateUnusable(
            f"{certificate_path} has no application URI; `mambaad station opcua-certificate` "
            "makes one that has"
        )
    return Identity(certificate, key, uris[0])


def make_identity(folder: Path, uri: str, hosts: Sequence[str], days: int) -> list[Path]:
    """Write a self-signed certificate and its key into a folder; return both paths.

    Raises `CertificateUnusable` if the folder has one already.
    """
    paths = [folder / CERTIFICATE_NAME, folder / KEY_NAME]
    if existing := [path for path in paths if path.exists()]:
        raise CertificateUnusable(f"{existing[0]} exists already; nothing was written")
    key = rsa.generate_private_key(public_exponent=65_537, key_size=_KEY_BITS)
    certificate = self_signed(key, uri, hosts, datetime.now(UTC), timedelta(days=days))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(paths[1], private, mode=0o600)
    write_durably(paths[0], certificate.public_bytes(serialization.Encoding.DER))
    return paths


def self_signed(
    key: rsa.RSAPrivateKey, uri: str, hosts: Sequence[str], start: datetime, life: timedelta
) -> x509.Certificate:
    """Return an application certificate as OPC 10000-6 asks for it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, uri.rpartition(":")[2] or uri)])
    alternatives = [x509.UniformResourceIdentifier(uri), *map(_host_name, hosts)]
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True,
        data_encipherment=True, key_agreement=False, key_cert_sign=True, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(hours=1))
        .not_valid_after(start + life)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


def default_uri() -> str:
    """Return the application URI of a station on this machine."""
    return f"urn:{socket.gethostname()}:mambaad:station"


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CertificateUnusable(f"{path} cannot be read: {error.strerror}") from error
    load = x509.load_pem_x509_certificate if b"-----BEGIN" in content else (
        x509.load_der_x509_certificate
    )  # fmt: skip
    try:
        return load(content)
    except ValueError as error:
        raise CertificateUnusable(f"{path}: expected a certificate in DER or PEM") from error


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _invalid_now(certificate: x509.Certificate) -> str:
    """Say why a certificate is not valid now; an empty text if it is."""
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""
