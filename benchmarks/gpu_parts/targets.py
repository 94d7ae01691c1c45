"""The targets for an H100, and whether they are met."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpu_parts.scans import network_ms

SCAN_RATIO = 4.0
END_RATIO = 3.0
BATCH_1_MS = 4.0
BATCH_32_IMAGES = 1500.0
OURS = "ours, float32"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target; `found`, the measured value, and `met` are None if it was not measured."""

    what: str
    target: str
    found: float | None
    met: bool | None

    def text(self) -> str:
        """Return a readable line."""
        state = {None: "not measured", True: "met", False: "MISSED"}[self.met]
        measured = "" if self.found is None else f", measured {self.found:.4g}"
        return f"{self.what}: {self.target}{measured}: {state}"


def verdicts(rows: list[dict[str, Any]], ends: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check scans and ends (the paper's configuration first) against the targets."""
    paper = ends[0] if ends else None
    results = (
        _at_least("scan, float32, against the published way, at its worst batch size",
                  SCAN_RATIO, min(_scan_ratios(rows), default=None), "x"),
        _at_least("end to end against the published way, at its worst batch size",
                  END_RATIO, min(_end_ratios(paper), default=None), "x"),
        _at_most("end to end at batch 1, p50", BATCH_1_MS, _ours(paper, 1, "p50_ms"), "ms"),
        _at_least("end to end at batch 32", BATCH_32_IMAGES,
                  _ours(paper, 32, "images_per_second"), "images/s"),
    )  # fmt: skip
    return [asdict(verdict) for verdict in results]


def _scan_ratios(rows: list[dict[str, Any]]) -> Iterator[float]:
    for b in {row["batch_size"] for row in rows}:
        ways = network_ms(rows, b)
        yield min(ms for name, ms in ways.items() if not name.startswith("ours")) / ways[OURS]


def _end_ratios(paper: dict[str, Any] | None) -> Iterator[float]:
    if paper is None:
        return
    for i, timing in enumerate(paper["ours"]):
        best = max(way[i]["images_per_second"] for way in paper["published"].values())
        yield timing["images_per_second"] / best


def _ours(paper: dict[str, Any] | None, b: int, figure: str) -> float | None:
    figures = [] if paper is None else [t[figure] for t in paper["ours"] if t["batch_size"] == b]
    return figures[0] if figures else None


def _at_least(what: str, target: float, measured: float | None, unit: str) -> Verdict:
    met = None if measured is None else measured >= target
    return Verdict(what, f"at least {target:g} {unit}", measured, met)


def _at_most(what: str, target: float, measured: float | None, unit: str) -> Verdict:
    met = None if measured is None else measured <= target
    return Verdict(what, f"at most {target:g} {unit}", measured, met)
