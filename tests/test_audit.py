"""An audit passes only if every package was checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci/audit.py"
OWN = {"name": "mambaad-service", "skip_reason": "distribution marked as editable"}
HOLE = {"id": "CVE-2099-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}


def clean(name):
    return {"name": name, "version": "1.0", "vulns": []}


def skipped(name):
    return {"name": name, "skip_reason": f"Dependency not found on PyPI: {name} (1.0)"}


def audit(folder, output, error="", status=0):
    """With a program that prints this instead of pip-audit."""
    (folder / "out").write_text(output if isinstance(output, str) else json.dumps(output), "utf-8")
    (folder / "err").write_text(error, "utf-8")
    tool = folder / "pip-audit"
    tool.write_text(f"#!/bin/sh\ncat {folder}/out\ncat {folder}/err >&2\nexit {status}\n", "utf-8")
    tool.chmod(0o755)
    return subprocess.run(
        [sys.executable, AUDIT, tool], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("packages", "status", "expected", "message"),
    [
        ([clean("a"), OWN], 0, 0, "1 packages audited, 0 with known holes, 0 not audited"),
        ([clean("a"), skipped("b")], 0, 2, "1 packages were not audited: b (Dependency not found"),
        ([clean("a"), *(skipped(f"b{n}") for n in range(179))], 0, 2, "b9 and 169 more"),
        ([OWN], 0, 2, "0 packages were not audited"),
        ([], 0, 2, "0 packages"),
        ([{**clean("a"), "vulns": [HOLE]}], 1, 1, "a 1.0: CVE-2099-1, mended in 2.0"),
        ([{**clean("a"), "vulns": [HOLE]}, skipped("b")], 1, 1, "1 with known holes, 1 not"),
    ],
)
def test_packages_that_were_not_looked_up_do_not_pass(
    tmp_path, packages, status, expected, message
):
    answer = audit(tmp_path, {"dependencies": packages, "fixes": []}, status=status)
    assert answer.returncode == expected, answer.stderr
    assert message in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("", "Traceback (most recent call last):\nConnectionError: no network", "no network"),
        ("", "", "it said nothing"),
        ("No known vulnerabilities found", "", "nothing was checked"),
        ("[]", "", "nothing was checked"),
        ("{}", "", "nothing was checked"),
        ('{"dependencies": 5}', "", "nothing was checked"),
    ],
)
def test_a_program_that_could_not_ask_does_not_pass(tmp_path, output, error, message):
    for status in (0, 1):
        answer = audit(tmp_path, output, error, status)
        assert answer.returncode == 2
        assert message in answer.stderr
        assert "Traceback" not in answer.stderr
