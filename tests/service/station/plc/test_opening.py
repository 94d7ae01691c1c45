"""The door that the settings name, and an extra that is not installed."""

import subprocess
import sys

from tests.service.live import ROOT

WITHOUT_ASYNCUA = """
import sys
sys.modules["asyncua"] = None
from service.cli.main import main
main()
"""
FILE = """\
name: EL-3
cameras: {top: {folder: {path: shots}}}
recipes: {1: {categories: {top: bolt}}}
plc: {opcua: {no_security: true, anonymous: command}}
"""


def test_a_missing_extra_is_named_with_its_command(tmp_path):
    (tmp_path / "station.yaml").write_text(FILE, "utf-8")
    for command in (["run"], ["opcua-certificate", "folder"]):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_ASYNCUA, "station", *command],
            cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "asyncua is not installed: pip install 'mambaad-service[opcua]'" in done.stderr
        assert "Traceback" not in done.stderr
