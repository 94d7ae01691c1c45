"""Writes the comparison with anomalib's models into README.md and docs/understand.md.

python -m benchmarks.peers_table            # writes it from benchmarks/results/peers-cpu.json
python -m benchmarks.peers_table --check    # fails if a document differs
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.peering.subjects import OURS, PAPER, PEERS, SHIPPED, SUBJECTS, TORCH, WAYS
from benchmarks.performance_table import (
    DETAILS,
    PEERS_RESULT,
    RESULTS,
    ROOT,
    SUMMARY,
    details,
    written,
)

RESULT = RESULTS / PEERS_RESULT
BEGIN = "<!-- made by benchmarks/peers_table.py: begin -->"
END = "<!-- made by benchmarks/peers_table.py: end -->"
DOCUMENTS = (ROOT / "README.md", SUMMARY)
NOT_YET = (
    "`python -m benchmarks.peers` measures anomalib's models beside this network, in torch and in "
    "OpenVINO. It has\nnot published figures yet."
)

Medians = Mapping[tuple[str, str], float]


def table(path: Path = RESULT) -> str:
    """Return the table as Markdown, or a sentence if there is no result."""
    if not path.is_file():
        return NOT_YET
    return "\n".join(columns_of(json.loads(path.read_text("utf-8"))))


def columns_of(result: Mapping[str, Any]) -> list[str]:
    """Return the table's lines: a row for each subject, then the peers ahead of this network."""
    rows = {(row["subject"], row["way"]): row for row in result["measured"]}
    medians = {column: row["median_ms"] for column, row in rows.items()}
    names = [name for name in SUBJECTS if any(name == subject for subject, _ in rows)]
    return [
        f"| one image, 256 x 256, batch 1 | {' | '.join(WAYS.values())} |",
        f"|---|{'---:|' * len(WAYS)}",
        *(_row(name, rows) for name in names),
        *(_ahead(own, medians) for own in (SHIPPED, PAPER) if (own, TORCH) in rows),
        "",
        _conditions(result),
    ]


def _row(name: str, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    times = " | ".join(_milliseconds(rows.get((name, way))) for way in WAYS)
    label = f"**{SUBJECTS[name]}**" if name in OURS else SUBJECTS[name]
    return f"| {label} | {times} |"


def _milliseconds(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    low, high = row["quartiles_ms"]
    return f"{row['median_ms']:.0f} ms ({low:.0f} to {high:.0f})"


def _ahead(own: str, medians: Medians) -> str:
    """Return the row of the peers that are faster than `own`, and how many times."""
    cells = (", ".join(_faster(own, way, medians)) or "none" for way in WAYS)
    return f"| faster than {SUBJECTS[own]} | {' | '.join(cells)} |"


def _faster(own: str, way: str, medians: Medians) -> Iterator[str]:
    """Yield the peers that are ahead of `own` in this way; `-` if none was measured.

    Where `own` was not measured in this way, its time in torch counts.
    """
    measured = {name: medians[name, way] for name in PEERS if (name, way) in medians}
    if not measured:
        yield "-"
    limit = medians.get((own, way), medians[own, TORCH])
    for name, median_ms in sorted(measured.items(), key=lambda item: item[1]):
        if median_ms < limit:
            short = PEERS[name].removeprefix("anomalib ").removesuffix(", 20,000 patches")
            yield f"{short} ({limit / median_ms:.1f} times)"


def _conditions(result: Mapping[str, Any]) -> str:
    versions: dict[str, str] = {}
    for about in result["environments"].values():
        packages = ("python", "torch", "anomalib", "openvino", "numba")
        versions |= {package: about[package] for package in packages if package in about}
        default = about.get("precisions", {}).get("openvino-default")
        if default:
            versions["OpenVINO's default here:"] = default
    return (
        f"Medians, in brackets the quartiles, of {result['rounds']} rounds of {result['times']} "
        f"images in one run (`python -m benchmarks.peers`): {result['processor']} with "
        f"{', '.join(result['instruction_sets']) or 'none of the known instruction sets'}, "
        f"{result['threads']} threads, {', '.join(f'{n} {v}' for n, v in versions.items())}, "
        f"commit {result['commit']}. anomalib's networks have random weights, which do not change "
        "their speed, and end with score and map; this network ends with the decision."
    )


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a document differs.")
    ] = False,
) -> None:
    """Write the table into the documents, or check them."""
    made = {path: _with_table(path.read_text("utf-8")) for path in DOCUMENTS}
    made[DETAILS] = written(DETAILS.read_text("utf-8"), details())  # has no other alternatives then
    stale = any(path.read_text("utf-8") != text for path, text in made.items())
    if not check:
        for path, text in made.items():
            path.write_text(text, "utf-8")
    raise typer.Exit(int(check and stale))


def _with_table(document: str) -> str:
    return written(document, table(), BEGIN, END)


if __name__ == "__main__":
    typer.run(main)
