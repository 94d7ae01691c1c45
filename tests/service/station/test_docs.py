import subprocess

import pytest
import yaml

from service.station.settings import StationSettings
from service.station.simulating.steps import read_script
from service.station.station_file import read_station_file
from tests.documents.examples import examples_in
from tests.programs import program
from tests.service.station.station_docs import DOCUMENT, replaced

EXAMPLES = list(examples_in(DOCUMENT.read_text("utf-8"), DOCUMENT.name))


def text_of(file):
    (text,) = [example.text for example in EXAMPLES if example.file == file]
    return text


def test_the_tables_and_the_diagram_are_those_of_the_code():
    """After a change, run `python -m tests.service.station.station_docs`."""
    document = DOCUMENT.read_text("utf-8")
    assert replaced(document) == document


@pytest.mark.parametrize("name", ["station.yaml", "opcua.yaml"])
def test_the_file_of_a_station_is_valid(tmp_path, name):
    (tmp_path / "station.yaml").write_text(text_of(name), "utf-8")
    assert read_station_file(tmp_path / "station.yaml").name == "EL-3"


@pytest.mark.parametrize("key", ["schedule", "status"])
def test_an_example_of_the_file_is_valid(key):
    (example,) = [
        values
        for example in EXAMPLES
        if example.language == "yaml"
        and isinstance(values := yaml.safe_load(example.text), dict)
        and key in values
    ]
    station = yaml.safe_load(text_of("station.yaml"))
    recipes = dict.fromkeys((1, 2), station["recipes"][1])
    settings = StationSettings.model_validate({**station, "recipes": recipes, **example})
    assert getattr(settings, key)


def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "mambaad-station.service"
    text = text_of("mambaad-station.service")
    assert "ExecStart=/opt/mambaad/bin/mambaad station run" in text
    unit.write_text(text.replace("/opt/mambaad/bin/mambaad", "/bin/true"), "utf-8")
    for check in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=25"]):
        answer = subprocess.run(
            [program("systemd-analyze"), *check, str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        if check[0] == "verify":
            assert answer.stderr == ""


def test_the_script_is_valid(tmp_path):
    (tmp_path / "overrun.txt").write_text(text_of("overrun.txt"), "utf-8")
    assert read_script(tmp_path / "overrun.txt")
