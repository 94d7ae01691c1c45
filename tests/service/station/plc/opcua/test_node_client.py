"""The client of another implementation, node-opcua, against the station."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.service.station.plc.opcua.site import PASSWORDS

PACKAGE = "node-opcua-client@2.182.2"  # later ones want a newer Node
SCRIPT = Path(__file__).with_name("node_client.mjs")
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def modules():
    """The folder with the package, installed once for all runs; npm may need minutes."""
    if not shutil.which("npm"):
        if os.environ.get("CI"):
            pytest.fail("npm is not installed; .ci/run installs it")
        pytest.skip("npm is not installed, so node-opcua-client cannot be tried")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mambaad-tests" / PACKAGE
    if not (folder / "node_modules" / "node-opcua-client" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", PACKAGE]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            if os.environ.get("CI"):
                pytest.fail(f"npm cannot install {PACKAGE}: {done.stderr}")
            pytest.skip(f"npm cannot install {PACKAGE}, perhaps without a network")
    return folder / "node_modules"


@pytest.mark.slow
def test_node_opcua_client_runs_a_part(site, modules):
    client = site.folder / "client"
    certificate = x509.load_der_x509_certificate((client / "certificate.der").read_bytes())
    (client / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    number = site.number()
    process = subprocess.Popen(
        ["node", SCRIPT, modules, site.url, site.folder, "scada", PASSWORDS["scada"], str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    steps = {}
    with process:
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            step = json.loads(line)
            steps[step["step"]] = step["value"]
            if step["step"] == "started":
                site.expose(number)
                process.stdin.write("taken\n")
                process.stdin.flush()
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert steps["connected"].endswith("#Basic256Sha256")
    assert steps["prepared"] == {"id": "1", "completed": True, "error": 0}
    assert steps["substate"] == "Ready"
    assert steps["started"]["error"] == 0
    event = steps["event"]
    assert (event["job"], event["part"]) == (steps["started"]["job"], f"node-{number}")
    assert (event["state"], event["content"]["verdict"]) == (1, "OK")
    assert steps["result"] == {
        "id": event["result"], "part": f"node-{number}", "state": 1, "error": 0,
    }  # fmt: skip
    assert steps["list"] == {"complete": True, "ids": [event["result"]], "error": 0}
