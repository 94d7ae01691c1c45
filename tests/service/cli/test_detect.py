"""`mambaad detect` against a running service: its output, its files, and its exit status."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from service.cli import main as cli


@pytest.fixture
def part(tmp_path, image):
    path = tmp_path / "part.png"
    path.write_bytes(image())
    return path


@pytest.fixture
def run(server):
    def invoke(*words):
        return CliRunner().invoke(cli.build_commands(), ["detect", *map(str, words)])

    return lambda *words: invoke(*words, "--url", server.url)


def test_every_part_ok(run, part):
    result = run(part, part, "--category", "bolt")
    assert result.exit_code == 0
    heading, *lines = result.output.splitlines()
    assert heading.split()[0] == "decision"
    assert [(line.split()[0], line.split()[-1]) for line in lines] == 2 * [("OK", str(part))]


def test_a_part_that_is_ng(run, part):
    result = run(part, "--category", "nut", "--json")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    answer = json.loads(line)
    assert (answer["path"], answer["decision"]) == (str(part), "NG")
    assert answer["raw_score"] > answer["threshold"]
    assert "heatmap" not in answer


def test_a_part_that_was_not_inspected_outweighs_the_others(run, part, tmp_path):
    cut = tmp_path / "cut.png"
    cut.write_bytes(part.read_bytes()[:100])
    gone = tmp_path / "gone.png"
    result = run(part, cut, gone, "--category", "nut")
    assert result.exit_code == 2
    decisions = [line.split()[0] for line in result.output.splitlines()[1:] if line[0] != " "]
    assert decisions == ["NG", "UNDECIDED", "UNDECIDED"]
    assert "truncated" in result.output
    assert "No such file" in result.output
    lines = run(cut, "--category", "nut", "--json").output.splitlines()
    assert json.loads(lines[0])["error"]["kind"] == "ImageRefused"


def test_heatmaps_are_written(run, part, tmp_path):
    words = (part, "--category", "bolt", "--heatmap", "overlay", "--output", tmp_path / "heat")
    assert run(*words).exit_code == 0
    with Image.open(tmp_path / "heat" / "part.png") as picture:
        assert picture.size == (96, 48)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--heatmap", "map"], "must be used together"),
        (["--output", "heat"], "must be used together"),
        (["--heatmap", "map", "--output", "."], "overwrite"),
    ],
)
def test_heatmaps_that_cannot_be_written_are_refused_at_once(
    run, part, words, message, monkeypatch
):
    monkeypatch.chdir(part.parent)
    result = run(part, "--category", "bolt", *words)
    assert (result.exit_code, message in result.output) == (2, True)


def test_a_heatmap_that_cannot_be_written_is_told(run, part, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    words = (part, "--category", "bolt", "--heatmap", "map", "--output", blocked)
    result = run(*words)
    assert (result.exit_code, "cannot be written" in result.output) == (2, True)


def test_folders_and_patterns_are_taken_and_sub_folders_kept_apart(run, part, tmp_path):
    for kind in ("NG", "good"):
        (tmp_path / "test" / kind).mkdir(parents=True)
        (tmp_path / "test" / kind / "000.png").write_bytes(part.read_bytes())
    for number, argument in enumerate((tmp_path / "test", tmp_path / "test" / "*" / "*.png")):
        heat = tmp_path / f"heat{number}"
        result = run(argument, "--category", "bolt", "--heatmap", "map", "--output", heat)
        assert result.exit_code == 0, result.output
        written = sorted(path.relative_to(heat).as_posix() for path in heat.rglob("*.png"))
        assert written == ["NG/000.png", "good/000.png"]
    result = run(tmp_path / "*.bmp", "--category", "bolt")
    assert (result.exit_code, "no image matches" in result.output) == (2, True)


def test_files_of_one_name_keep_their_folders(run, part, tmp_path):
    other = tmp_path / "other" / "part.png"
    other.parent.mkdir()
    other.write_bytes(part.read_bytes())
    heat = tmp_path / "heat"
    result = run(part, other, "--category", "bolt", "--heatmap", "map", "--output", heat)
    assert result.exit_code == 0, result.output
    assert sorted(path.relative_to(heat).as_posix() for path in heat.rglob("*.png")) == [
        "other/part.png",
        "part.png",
    ]


def test_a_service_that_is_not_there(part):
    words = ["detect", str(part), "--category", "bolt", "--timeout-ms", "300"]
    result = CliRunner().invoke(
        cli.build_commands(), words, env={"MAMBAAD_URL": "http://127.0.0.1:1"}
    )
    assert (result.exit_code, "UNDECIDED" in result.output) == (2, True)


def test_a_url_that_is_none(part):
    words = ["detect", str(part), "--category", "bolt", "--url", "line-7"]
    result = CliRunner().invoke(cli.build_commands(), words)
    assert (result.exit_code, "expected a URL" in result.output) == (2, True)
