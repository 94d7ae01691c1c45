"""`mambaad serve` over TLS, and who asks it: the client, `mambaad detect`, the health check."""

import os
import subprocess
import sys

import pytest

from service.client import CannotConnect, Client
from tests.certificates import write_pair
from tests.service.live import ROOT, RUN, serving
from tests.test_docker import health_check


def test_a_service_with_a_certificate_is_asked_over_https(weights, tmp_path, image):
    pair, other = write_pair(tmp_path), write_pair(tmp_path, "other")
    part = tmp_path / "part.png"
    part.write_bytes(image())
    settings = {f"http__{name}": file for name, file in pair.settings.items()}
    with serving(weights, **settings) as live:
        assert live.url.startswith("https://127.0.0.1:")
        assert live.metric("mambaad_tls_certificate_expiry_timestamp_seconds") > 1.7e9
        with Client(live.url, ca_file=pair.certificate) as client:
            (result,) = client.detect(image(), category="bolt")
            assert result.decision == "OK"
        with (
            Client(live.url, ca_file=other.certificate) as client,
            pytest.raises(CannotConnect, match="certificate verify failed"),
        ):
            client.categories()
        for authority, status in ((pair.certificate, 0), (other.certificate, 2)):
            command = [sys.executable, "-c", RUN, "detect", str(part), "--category", "bolt"]
            variables = {"MAMBAAD_CA_FILE": str(authority), "MAMBAAD_URL": live.url}
            environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
            assert subprocess.run(command, env=environment, check=False).returncode == status
        program = health_check()[2].replace("8000", live.url.rpartition(":")[2])
        environment = {**os.environ, "MAMBAAD_HTTP__TLS_CERTIFICATE": str(pair.certificate)}
        assert (
            subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode
            == 0
        )
        assert live.tracebacks() == []


def test_an_authority_that_cannot_be_read_is_the_callers_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"gone.pem cannot be read: No such file"):
        Client("https://127.0.0.1:1", ca_file=tmp_path / "gone.pem")


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("service.crt", None, "belong together"),
        ("service.crt", "gone.key", "gone.key cannot be read: No such file"),
        ("service.crt", "other.key", "does not belong to the certificate"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(weights, tmp_path, certificate, key, reason):
    write_pair(tmp_path)
    write_pair(tmp_path, "other")
    given = {"CERTIFICATE": certificate, "KEY": key}
    variables = {f"MAMBAAD_HTTP__TLS_{n}": str(tmp_path / v) for n, v in given.items() if v}
    done = subprocess.run(
        [sys.executable, "-c", RUN, "serve", "--port", "0", "--weights", str(weights)],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mambaad serve:")]
    assert reason in line
    assert "Traceback" not in done.stderr
