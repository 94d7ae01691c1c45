"""Certificates for tests, made by openssl: an authority, and what it has signed."""

import subprocess
from pathlib import Path

from tests.programs import program

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """An authority in a folder; `file` is its own certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.file, "-subj", "/CN=ca")

    def sign(self, name: str, *, days: int = 7) -> tuple[Path, Path]:
        """Return the files of a certificate for this machine, and of its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", "ascii")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl(
            *("x509", "-req", "-in", request, "-out", certificate, "-days", days),
            *("-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions),
        )
        return certificate, key


def _openssl(*arguments: object) -> None:
    command = [program("openssl"), *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
