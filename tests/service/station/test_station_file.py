"""`station.yaml`: what it says, and the line of every error."""

import pytest

from service.station.settings import StationSettings
from service.station.station_file import StationFileInvalid, read_station_file

FILE = """\
name: EL-3
cameras:
  top:
    folder:
      path: shots
recipes:
  1:
    categories:
      top: solar-mono
"""


def read(tmp_path, text):
    path = tmp_path / "station.yaml"
    path.write_text(text, "utf-8")
    return read_station_file(path)


def test_the_smallest_file_has_defaults_for_everything_else(tmp_path):
    station = read(tmp_path, FILE)
    assert (station.name, station.fail_safe) == ("EL-3", "NG")
    assert station.cameras["top"].folder.path == tmp_path / "shots"
    assert station.spool.folder == tmp_path / "station-spool"
    assert station.recipes[1].categories == {"top": "solar-mono"}
    assert str(station.plc.modbus.allow[0]) == "127.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (FILE.replace("path: shots", "pth: shots"), 4, "cameras.top.folder.path: Field required"),
        (FILE.replace("path: shots", "pth: shots"), 5, "cameras.top.folder.pth: Extra inputs"),
        (FILE.replace("  1:", "  one:"), 7, "recipes.one.[key]: Input should be a valid integer"),
        (FILE + "times:\n  takt_ms: fast\n", 11, "times.takt_ms: Input should be a valid number"),
        (FILE + "times:\n  takt_ms: 40\n", 10, "times: reserve_ms must be below takt_ms"),
        (FILE + "fail_safe: PASS\n", 10, "fail_safe: Input should be 'NG'"),
        (FILE + "autostart_recipe: 2\n", 1, "station: autostart_recipe 2 is not in recipes"),
        (FILE.replace("top: solar", "side: solar"), 1, "recipe 1 names the camera 'side'"),
        (FILE + "name: EL-4\n", 10, "name: is already set in line 1"),
        (FILE + "plc:\n  modbus:\n    allow: [10.0.0.0/33]\n", 12, "plc.modbus.allow.0"),
        (FILE + "when: 2026-13-45\n", 10, "when: month must be"),
        (FILE + "? [a, b]\n: 3\n", 10, "expected a name, got the key"),
        (FILE + "loop: &a\n  - *a\n", 10, "an anchor that contains itself"),
        (FILE.replace("    folder:\n      path: shots", "    black_below: 1"), 3, "exactly one of"),
        ("name: EL-3\n  cameras: x\n", 2, "mapping values are not allowed"),
        ("- a\n", 1, "station: Input should be a valid dictionary"),
        ("", 1, "name: Field required"),
    ],
)
def test_an_error_names_its_line(tmp_path, text, line, message):
    with pytest.raises(StationFileInvalid) as raised:
        read(tmp_path, text)
    lines = str(raised.value).splitlines()
    assert any(message in entry and f"line {line}" in entry for entry in lines), lines


def test_a_missing_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(StationFileInvalid, match=r"gone\.yaml cannot be read: No such file"):
        read_station_file(tmp_path / "gone.yaml")


def test_a_python_object_is_not_built(tmp_path):
    with pytest.raises(StationFileInvalid, match="could not determine a constructor"):
        read(tmp_path, FILE + "spool: !!python/name:os.system ''\n")


@pytest.mark.parametrize(("port", "is_on"), [("0", False), ("null", False), ("8031", True)])
def test_port_0_or_none_means_no_status_page(tmp_path, port, is_on):
    assert read(tmp_path, FILE + f"status:\n  port: {port}\n").status.is_on is is_on


def test_every_key_is_described():
    def models(model):
        yield model
        for field in model.model_fields.values():
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(kind, type) and hasattr(kind, "model_fields"):
                    yield from models(kind)

    fields = [field for model in models(StationSettings) for field in model.model_fields.values()]
    assert len(fields) > 30
    assert all(field.description for field in fields)
