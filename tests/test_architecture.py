"""House rules that no tool checks: rooms, layers, sizes, and where code reads the environment."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service")
FOLDERS = (*PACKAGES, "benchmarks", "demo", "docker")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TESTS = ROOT / "tests"
ENVIRONMENT = ROOT / "service" / "settings" / "environment.py"
FILE_LINES = 300
BODY_LINES = 40
ROOM_MODULES = 15
ACROSS_ROOMS = {"service/faults", "service/station/faults"}
"""Test folders that mirror no room, since they test all rooms together."""

READS_ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
MACHINE_PATH = re.compile(r"(?<![\w./:-])/(?:home|root|work|farm|Users|tmp/[\w-]*venv)/[\w.-]+")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def body_length(function: Function) -> int:
    """From the first statement after the docstring to the last."""
    first, *statements = function.body
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        if not statements:
            return 0
        first = statements[0]
    end = function.end_lineno
    assert end is not None
    return end - first.lineno + 1


def environment_reads(source: str) -> list[int]:
    """Return the lines that use `os.environ` or `os.getenv`, or import them from os."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in READS_ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and imported(node) & READS_ENVIRONMENT)
    )


def imported(node: ast.ImportFrom) -> set[str]:
    return {f"{node.module}.{alias.name}" for alias in node.names}


def rooms() -> dict[str, list[str]]:
    """Without `__init__`."""
    files = [file for file in SOURCES if file.relative_to(ROOT).parts[0] in PACKAGES]
    modules: dict[str, list[str]] = {name_of(file.parent): [] for file in files}
    for file in files:
        if file.stem != "__init__":
            modules[name_of(file.parent)].append(file.stem)
    return modules


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def logger_names(source: str) -> list[str]:
    """Return the arguments of `logging.getLogger`, as source text."""
    return [
        ast.unparse(argument)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "logging.getLogger"
        for argument in call.args
    ]


def tracked_text_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout, so the repository's files are unknown")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def test_there_is_something_to_check():
    assert len(SOURCES) > 10


def test_the_layers_hold():
    command = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_room_that_holds_rooms_has_layers_that_name_them_all():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layered = {
        container.replace(".", "/")
        for contract in contracts["contracts"]
        if contract["type"] == "layers" and contract.get("exhaustive")
        for container in contract["containers"]
    }
    assert {str(Path(room).parent) for room in rooms()} - {"."} - layered == set()


def test_rooms_are_small():
    large = {room: len(modules) for room, modules in rooms().items() if len(modules) > ROOM_MODULES}
    assert not large, f"over {ROOM_MODULES} modules: make rooms"


def test_tests_lie_where_the_modules_lie():
    folders = {
        file.parent.relative_to(TESTS).as_posix()
        for package in PACKAGES
        for file in (TESTS / package).rglob("test_*.py")
    }
    assert folders - ACROSS_ROOMS - set(rooms()) == set()
    assert folders >= ACROSS_ROOMS


def test_a_loggers_name_says_a_part_of_the_service_and_no_place_in_its_folders():
    """A log line's `logger` survives moved modules, and silencing one affects no other."""
    files = sorted((ROOT / "service").rglob("*.py"))
    names = [name for file in files for name in logger_names(file.read_text("utf-8"))]
    assert len(names) > 10
    assert "'service.access'" in names
    assert not [name for name in names if not re.fullmatch(r"'service\.[a-z]+'", name)]
    assert len(set(names)) == len(names)


def test_files_are_short():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    long = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > FILE_LINES}
    assert not long, f"over {FILE_LINES} lines"


def test_functions_are_short():
    long = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": body_length(function)
        for path in SOURCES
        for function in functions(path.read_text("utf-8"))
        if body_length(function) > BODY_LINES
    }
    assert not long, f"over {BODY_LINES} lines"


def test_the_environment_is_read_in_settings_alone():
    assert environment_reads(ENVIRONMENT.read_text("utf-8"))
    readers = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in PACKAGES and path != ENVIRONMENT
        for line in environment_reads(path.read_text("utf-8"))
    ]
    assert not readers


def test_no_file_names_a_path_of_one_machine():
    paths = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_text_files()
        for match in MACHINE_PATH.finditer(path.read_text("utf-8"))
    ]
    assert not paths


def test_the_measures_see_what_they_should():
    source = 'def f():\n    """Doc."""\n    x = 1\n\n    return x\n'
    assert [body_length(function) for function in functions(source)] == [3]
    assert logger_names("import logging\nx = logging.getLogger(__name__)\n") == ["__name__"]
    assert environment_reads("import os\nfrom os import getenv\nx = os.environ['A']\n") == [2, 3]
    assert MACHINE_PATH.search(" ".join(["cd", "/" + "home/someone/x"]))
    assert not MACHINE_PATH.search("POST /work or https://example.com/home/page or ./work/a")


def test_one_decoder_opens_all_images():
    """Limits, depths and transparency are one rule, which `PIL.Image.open` ignores."""
    exempt = {
        ROOT / "benchmarks" / "codecs.py",  # compares several decoding libraries
        ROOT / "service" / "inspection" / "images" / "maps.py",  # reads the service's own files
    }
    opening = [
        f"{name_of(file)}:{call.lineno}"
        for file in SOURCES
        if file not in exempt
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"Image.open", "PIL.Image.open"}
    ]
    assert not opening, "use model.images.decoding"
