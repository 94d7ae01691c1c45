"""The comparison with anomalib's models: arguments, turns with stand-in networks, the tables."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import peers_table
from benchmarks.loading import CannotMeasure
from benchmarks.peering import environment
from benchmarks.peering.running import rounds_of, started
from benchmarks.peering.subjects import HOSTS, OURS, PAPER, PEERS, SHIPPED, TORCH, Host, hosts_of
from benchmarks.peers import app, measure, processor, summary
from benchmarks.peers_table import BEGIN, DOCUMENTS, END, NOT_YET, columns_of, table
from benchmarks.performance_table import ALTERNATIVES, PEERS_RESULT, ROOT, alternatives, written

STAND_IN = Host("tests.benchmarks.peers_stand_in", True, ("a way",), {"quick": "q", "slow": "s"})
FAILING = Host(STAND_IN.module, True, ("a way",), {"tired": "t"})
ABSENT = Host(STAND_IN.module, True, ("a way",), {"absent": "a"})


def stand_in(host, names):
    return started(host, names, Path(sys.executable), 1, lambda _: None)


def row(subject, way, median_ms):
    quartiles = [median_ms - 1, median_ms + 1]
    return {"subject": subject, "way": way, "median_ms": median_ms, "quartiles_ms": quartiles}


def result(*rows):
    return {
        "measured": [row(*values) for values in rows],
        "processor": "A processor", "instruction_sets": ["AVX2", "AMX"], "threads": 2,
        "rounds": 5, "times": 3, "commit": "0123abc",
        "environments": {
            "own": {"torch": "2.13.0"},
            "peers": {"openvino": "2026.4.1", "precisions": {"openvino-default": "bf16"}},
        },
    }  # fmt: skip


def test_without_an_environment_the_command_to_make_one_is_named(tmp_path):
    run = CliRunner().invoke(app, ["run"])
    assert run.exit_code == 1
    assert "python -m benchmarks.peers environment DIR" in run.stderr
    run = CliRunner().invoke(app, ["run", "--environment", str(tmp_path / "gone")])
    assert run.exit_code == 1
    assert f"`python -m benchmarks.peers environment {tmp_path / 'gone'}`" in run.stderr


def test_an_environment_that_lacks_packages_is_refused(tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(CannotMeasure, match=r"lacks some of anomalib, openvino"):
        environment.python_of(tmp_path)
    python.write_text("#!/bin/sh\nexit 0\n")
    assert environment.python_of(tmp_path) == python


def test_a_folder_of_other_files_is_not_made_an_environment(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    run = CliRunner().invoke(app, ["environment", str(tmp_path)])
    assert run.exit_code == 1
    assert "is not a virtual environment" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "yolo"], "'yolo' is none of"),
        (["--only", SHIPPED, "--json", "gone/peers.json"], "no folder gone"),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(arguments, message):
    run = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["run", *arguments])
    assert run.exit_code == 2
    assert message in run.stderr


def test_only_the_hosts_of_the_chosen_subjects_start():
    modules = [(host.module, names) for host, names in hosts_of([SHIPPED, PAPER], HOSTS)]
    assert modules == [("benchmarks.peering.own", [SHIPPED, PAPER])]
    everything = [names for _, names in hosts_of([*PEERS, *OURS], HOSTS)]
    assert everything == [list(PEERS), list(PEERS), list(OURS)]


def test_every_round_times_each_network_and_begins_with_another(tmp_path, monkeypatch):
    log = tmp_path / "calls"
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    with stand_in(STAND_IN, ["quick", "slow"]) as host:
        assert host.about == {"threads": 1}
        log.write_text("")  # forget the warm-up
        measured = rounds_of([host], rounds=3, times=2, done=lambda: None)
    assert {column: len(times) for column, times in measured.items()} == {
        ("quick", "a way"): 6,
        ("slow", "a way"): 6,
    }
    turns = "quick " * 3 + "slow " * 6 + "quick " * 6 + "slow " * 3  # a call before two timed ones
    assert log.read_text().split() == turns.split()
    assert min(measured["slow", "a way"]) > 5


def test_what_a_network_prints_does_not_disturb_the_answers():
    with stand_in(STAND_IN, ["quick"]) as host:
        assert len(host.turn(("quick", "a way"), 4)) == 4
    assert host.process.poll() is not None


def test_a_failed_call_and_an_ended_host_say_why():
    with (
        stand_in(FAILING, ["tired"]) as host,
        pytest.raises(CannotMeasure, match=r"tired in a way failed: .*no more"),
    ):
        host.turn(("tired", "a way"), 1)
    with pytest.raises(CannotMeasure, match="KeyError: 'absent'"), stand_in(ABSENT, ["absent"]):
        pass


def test_a_result_has_versions_and_times_of_each_host():
    made = measure(
        [(STAND_IN, ["quick"])], lambda _: Path(sys.executable), threads=1, rounds=2, times=2
    )
    assert made["environments"] == {"peers_stand_in": {"threads": 1}}
    (times,) = made["measured"]
    assert (times["subject"], times["way"], times["times"]) == ("quick", "a way", 4)


def test_median_and_quartiles_are_of_all_turns():
    (made,) = summary({("quick", TORCH): [1.0, 2.0, 3.0, 4.0, 100.0]})
    assert (made["median_ms"], made["quartiles_ms"], made["least_ms"]) == (3.0, [2.0, 4.0], 1.0)


def test_the_processor_is_read_with_its_instruction_sets():
    text = "model name\t: A processor\nflags\t\t: fpu avx2 avx512f amx_tile\nprocessor\t: 1\n"
    assert processor(text) == {
        "processor": "A processor",
        "instruction_sets": ["AVX2", "AVX-512", "AMX"],
    }
    assert processor("") == {"processor": "unknown", "instruction_sets": []}


def test_the_table_names_the_peers_that_are_ahead():
    lines = columns_of(
        result(
            ("padim-resnet18", "torch", 80.0), ("padim-resnet18", "openvino-float32", 45.0),
            ("padim-resnet18", "openvino-default", 11.0), (SHIPPED, "torch", 30.0),
            (PAPER, "torch", 230.0),
        )
    )  # fmt: skip
    head, _, padim, shipped, paper, ahead, ahead_of_paper, _, conditions = lines
    assert head.count("|") == padim.count("|") == shipped.count("|") == ahead.count("|") == 5
    assert padim == (
        "| anomalib PaDiM, ResNet18 | 80 ms (79 to 81) | 45 ms (44 to 46) | 11 ms (10 to 12) |"
    )
    assert shipped == "| **the shipped checkpoint** | 30 ms (29 to 31) |  |  |"
    assert paper.startswith("| **the paper's configuration** | 230 ms")
    assert ahead == (
        "| faster than the shipped checkpoint | none | none | PaDiM, ResNet18 (2.7 times) |"
    )
    assert ahead_of_paper.count("PaDiM, ResNet18") == 3
    assert "A processor with AVX2, AMX, 2 threads" in conditions
    assert "OpenVINO's default here: bf16" in conditions


def test_each_way_of_this_network_is_compared_with_the_peers_in_the_same_way():
    padim = ("padim-resnet18", "openvino-float32", 25.0)
    of_torch = (SHIPPED, "torch", 30.0)
    ahead = columns_of(result(padim, of_torch, (SHIPPED, "openvino-float32", 20.0)))[4]
    assert ahead == "| faster than the shipped checkpoint | - | none | - |"
    assert "PaDiM, ResNet18 (1.2 times)" in columns_of(result(padim, of_torch))[4]


def test_without_peers_nothing_is_said_to_be_slower():
    ahead = columns_of(result((SHIPPED, "torch", 30.0)))[3]
    assert ahead == "| faster than the shipped checkpoint | - | - | - |"


def test_the_table_comes_from_the_file_and_replaces_the_plans_figures(tmp_path):
    path = tmp_path / PEERS_RESULT
    assert table(path) == NOT_YET
    assert len(alternatives(tmp_path)) == len(ALTERNATIVES) + 5
    path.write_text(json.dumps(result((SHIPPED, "torch", 30.0))))
    assert "| 30 ms (29 to 31) |" in table(path)
    assert alternatives(tmp_path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_hold_the_table(path):
    document = path.read_text("utf-8")
    assert document.count(BEGIN) == document.count(END) == 1
    assert written(document, table(), BEGIN, END) == document


def test_a_published_result_has_every_subject():
    if not peers_table.RESULT.is_file():
        assert NOT_YET in (ROOT / "README.md").read_text("utf-8")
        return
    published = json.loads(peers_table.RESULT.read_text("utf-8"))
    assert {row["subject"] for row in published["measured"]} == {*PEERS, *OURS}
