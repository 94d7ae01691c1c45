from service.station.station_file import read_station_file
from tests.documents.examples import examples_in
from tests.service.station.station_docs import DOCUMENT, replaced


def test_the_tables_and_the_diagram_are_those_of_the_code():
    """After a change, run `python -m tests.service.station.station_docs`."""
    document = DOCUMENT.read_text("utf-8")
    assert replaced(document) == document


def test_the_files_of_stations_are_valid(tmp_path):
    examples = examples_in(DOCUMENT.read_text("utf-8"), DOCUMENT.name)
    texts = [example.text for example in examples if example.file]
    assert texts
    for text in texts:
        (tmp_path / "station.yaml").write_text(text, "utf-8")
        assert read_station_file(tmp_path / "station.yaml").name == "EL-3"
