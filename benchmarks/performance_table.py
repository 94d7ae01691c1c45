"""Writes the speeds in docs/understand.md and benchmarks/results/README.md from the result files.

python -m benchmarks.performance_table            # writes them
python -m benchmarks.performance_table --check    # fails if a document differs
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUMMARY = ROOT / "docs" / "understand.md"
DETAILS = RESULTS / "README.md"
BEGIN = "<!-- made by benchmarks/performance_table.py: begin -->"
END = "<!-- made by benchmarks/performance_table.py: end -->"

SUBJECTS = {"paper": "paper's configuration", "shipped": "shipped checkpoint"}
CONDITIONS = {"avx2": "held to AVX2", "native": "all it has"}
TARGETS = {
    ("paper", 1): "at most 300 ms",
    ("paper", 8): "at least 4 images/s",
    ("shipped", 1): "at most 60 ms",
}
"""The targets on two cores with AVX2."""

EXPORTS = {"paper": ("paper", "at most 900 ms"), "solar": ("shipped", "at most 250 ms")}
"""Checkpoints in `onnx.json`: the subject, and the target with waiting idle threads."""

ALTERNATIVES = {
    "PaDiM, ResNet18": 95,
    "Reverse Distillation, ResNet18": 126,
    "PatchCore, ResNet18": 232,
    "Reverse Distillation, WideResNet50": 588,
    "EfficientAD, small": 684,
    "PatchCore, WideResNet50": 860,
}
"""Median milliseconds of one 256 x 256 image in anomalib 2.6 with torch on two cores; from the
project's plan, not measured here. `benchmarks/peers.py` replaces them.
"""
PEERS_RESULT = "peers-cpu.json"


def summary(results: Path = RESULTS) -> str:
    """Return the table of a CPU's speed as Markdown."""
    measured = _measured(results)
    rows = [
        _row(name, result, timing)
        for subject in SUBJECTS
        for name, result in measured.items()
        for timing in result["timings"]
        if timing["subject"] == subject
    ]
    lines = [
        "| network | instructions | batch | p50 | p95 | images/s | target | floor, an image |",
        "|---|---|---:|---:|---:|---:|---|---:|",
        *rows,
    ]
    return "\n".join(lines)


def details(results: Path = RESULTS) -> str:
    """Return the tables behind the summary: stages, conditions, ONNX, smaller networks."""
    measured = _measured(results)
    stages = [
        "| network | instructions | batch | encoder | decoder | anomaly map | decision |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(_stages(name, t) for name, r in measured.items() for t in r["timings"]),
    ]
    rates = [
        _rates(name, measured[name]) if name in measured else f"- **{words}**: not measured yet."
        for name, words in CONDITIONS.items()
    ]
    parts = (stages, rates, alternatives(results), exports(results), scans(results))
    return "\n\n".join("\n".join(part) for part in parts if part)


def alternatives(results: Path) -> list[str]:
    """Return the lines about anomalib's models, until `benchmarks/peers.py` has measured them."""
    if (results / PEERS_RESULT).is_file():
        return []
    return [
        "\"Instead\" are anomalib 2.6's methods with torch: figures stated in the project's plan. "
        "`benchmarks/peers.py`",
        "measures them beside this network; it has not published figures yet.",
        "",
        "| instead | p50 of one image |",
        "|---|---:|",
        *(f"| {name} | {ms} ms |" for name, ms in sorted(ALTERNATIVES.items(), key=lambda x: x[1])),
    ]


def _measured(results: Path) -> dict[str, dict[str, Any]]:
    files = {name: results / f"cpu-{name}.json" for name in CONDITIONS}
    return {name: _read(path) for name, path in files.items() if path.is_file()}


def exports(results: Path) -> list[str]:
    """Return the lines about ONNX: the forms of the scan, and complete files."""
    path = results / "onnx.json"
    if not path.is_file():
        return []
    result = _read(path)
    forms = result["scans_ms"]
    return [
        "| all scans of the paper's network, as ONNX | idle threads wait | idle threads spin |",
        "|---|---:|---:|",
        *(
            f"| {form} | {ms:.0f} ms | {forms['spinning'][form]:.0f} ms |"
            for form, ms in forms["waiting"].items()
        ),
        "",
        "| one image in onnxruntime | idle threads wait | idle threads spin | target | loads in "
        "| file |",
        "|---|---:|---:|---|---:|---:|",
        *(_exported(name, model) for name, model in result["models"].items()),
        "",
        f"(`onnx.json`: {result['device']}, {result['threads']} threads, batch 1, medians, "
        f"{_packages(result)}, commit {result['commit']}.)",
    ]


def _exported(name: str, model: dict[str, Any]) -> str:
    subject, target = EXPORTS[name]
    return (
        f"| {SUBJECTS[subject]} | {model['waiting_ms']:.0f} ms | {model['spinning_ms']:.0f} ms "
        f"| {target} | {model['load_ms']:.0f} ms | {model['bytes'] / 1e6:.0f} MB |"
    )


def scans(results: Path) -> list[str]:
    """Return the lines about smaller states and fewer directions."""
    path = results / "solar-ablation.json"
    if not path.is_file():
        return []
    result = _read(path)
    return [
        "| the demonstration's network with | mono | poly | one image | batch of 8 |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row['variant']} | {row['image_auroc']['solar-mono']:.3f} "
            f"| {row['image_auroc']['solar-poly']:.3f} | {row['batch_1_ms']:.1f} ms "
            f"| {row['batch_8_ms']:.0f} ms |"
            for row in result["scan"]
        ),
        "",
        "(`solar-ablation.json`: image AUROC on development cells, medians of turns, "
        f"{result['device_name']}, {_packages(result)}, commit {result['commit']}.)",
    ]


def _packages(result: dict[str, Any]) -> str:
    return ", ".join(f"{package} {version}" for package, version in result["versions"].items())


def _read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return result


def _row(name: str, result: dict[str, Any], timing: dict[str, Any]) -> str:
    subject, batch = timing["subject"], timing["batch_size"]
    target = TARGETS.get((subject, batch), "") if name == "avx2" else ""
    return (
        f"| {SUBJECTS[subject]} | {CONDITIONS[name]} | {batch} | {timing['p50_ms']:.0f} ms "
        f"| {timing['p95_ms']:.0f} ms | {timing['images_per_second']:.1f} | {target} "
        f"| {result['floor'][subject]['floor_ms']:.0f} ms |"
    )


def _stages(name: str, timing: dict[str, Any]) -> str:
    stages = timing["stages_p50_ms"]
    times = " | ".join(
        f"{stages[stage]:.1f} ms" for stage in ("encoder", "decoder", "anomaly_map", "decision")
    )
    return (
        f"| {SUBJECTS[timing['subject']]} | {CONDITIONS[name]} | {timing['batch_size']} | {times} |"
    )


def _rates(name: str, result: dict[str, Any]) -> str:
    floor = result["floor"]["paper"]
    return (
        f"- **{CONDITIONS[name]}** (`cpu-{name}.json`): {result['device_name']}, "
        f"{result['timings'][0]['threads']} threads, {_packages(result)}, "
        f"commit {result['commit']}. "
        f"Matrix products reach {floor['gemm_gflops']:.0f} Gflop/s, "
        f"copies {floor['copy_gbytes']:.1f} GB/s. "
        f"The paper's configuration takes {floor['gflop']:.1f} "
        f"Gflop outside the scan and {floor['state_updates'] / 1e6:.0f} M state updates: "
        f"{floor['arithmetic_ms']:.0f} ms of arithmetic, {floor['memory_ms']:.0f} ms of memory."
    )


def written(document: str, made: str, begin: str = BEGIN, end: str = END) -> str:
    """Return the document with `made` between the markers."""
    before, _, remainder = document.partition(begin)
    _, _, after = remainder.partition(end)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a document differs.")
    ] = False,
) -> None:
    """Write the tables into the documents, or check them."""
    stale = False
    for path, tables in ((SUMMARY, summary()), (DETAILS, details())):
        document = path.read_text("utf-8")
        made = written(document, tables)
        stale |= made != document
        if not check:
            path.write_text(made, "utf-8")
    raise typer.Exit(int(check and stale))


if __name__ == "__main__":
    typer.run(main)
