"""Every test that docs/reliability.md names exists, and none is only skipped."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "Proved by" not in line]


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_exists(file, test):
    folder = ROOT if file.startswith("tests/") else ROOT / "tests" / "service"
    source = (folder / file).read_text("utf-8")
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)


def test_every_fault_has_its_proof():
    assert len(ROWS) > 30
    for row in ROWS:
        proof = row.rstrip(" |").rpartition("|")[2]
        assert "::test_" in proof or "`make soak" in proof, row


def test_every_test_of_faults_is_named():
    """A test that the list omits is hard to find."""
    service = ROOT / "tests" / "service"
    files = sorted(service.glob("faults/test_*.py"))
    assert len(files) >= 5
    for file in files:
        tests = set(re.findall(r"^def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE))
        assert (
            tests - {test for name, test in NAMED if name == str(file.relative_to(service))}
            == set()
        )
