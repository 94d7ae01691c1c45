"""What was promised for an H100, and whether it holds."""

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
    """One target; `found` is None where it was not measured, and then `met` is, too."""

    what: str
    target: str
    found: float | None
    met: bool | None

    def text(self) -> str:
        """Return a line for people."""
        said = {None: "not measured", True: "met", False: "MISSED"}[self.met]
        found = "" if self.found is None else f", found {self.found:.4g}"
        return f"{self.what}: {self.target}{found}: {said}"


def verdicts(rows: list[dict[str, Any]], ends: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold scans and ends (the paper configuration's first) to the targets; empty: not measured."""
    paper = ends[0] if ends else None
    found = (
        _at_least("scan, float32, against the published way, at its worst batch size",
                  SCAN_RATIO, min(_scan_ratios(rows), default=None), "x"),
        _at_least("end to end against the published way, at its worst batch size",
                  END_RATIO, min(_end_ratios(paper), default=None), "x"),
        _at_most("end to end at batch 1, p50", BATCH_1_MS, _ours(paper, 1, "p50_ms"), "ms"),
        _at_least("end to end at batch 32", BATCH_32_IMAGES,
                  _ours(paper, 32, "images_per_second"), "images/s"),
    )  # fmt: skip
    return [asdict(verdict) for verdict in found]


def _scan_ratios(rows: list[dict[str, Any]]) -> Iterator[float]:
    for b in {row["batch_size"] for row in rows}:
        ways = network_ms(rows, b)
        yield min(ms for name, ms in ways.items() if not name.startswith("ours")) / ways[OURS]


def _end_ratios(paper: dict[str, Any] | None) -> Iterator[float]:
    if paper is None:
        return
    for i, ours in enumerate(paper["ours"]):
        best = max(way[i]["images_per_second"] for way in paper["published"].values())
        yield ours["images_per_second"] / best


def _ours(paper: dict[str, Any] | None, b: int, figure: str) -> float | None:
    found = [] if paper is None else [t[figure] for t in paper["ours"] if t["batch_size"] == b]
    return found[0] if found else None


def _at_least(what: str, target: float, found: float | None, unit: str) -> Verdict:
    met = None if found is None else found >= target
    return Verdict(what, f"at least {target:g} {unit}", found, met)


def _at_most(what: str, target: float, found: float | None, unit: str) -> Verdict:
    met = None if found is None else found <= target
    return Verdict(what, f"at most {target:g} {unit}", found, met)
