"""Writes the table of problems in docs/integrate.md from `service.problem_types`.

Run `python -m tests.service.api.problem_docs`.
"""

from pathlib import Path

from service.problem_types import INTERNAL, PROBLEM_TYPES, ProblemType

API = Path(__file__).parents[3] / "docs" / "integrate.md"
HEAD = "| status | `type` ends in | do |\n|---|---|---|\n"


def advice_rows() -> list[str]:
    """A row for each action, with the problems that it solves."""
    by_advice: dict[str, list[ProblemType]] = {}
    for kind in sorted([*PROBLEM_TYPES.values(), INTERNAL], key=lambda kind: kind.status):
        if kind.advice:
            by_advice.setdefault(kind.advice, []).append(kind)
    return [
        f"| {', '.join(dict.fromkeys(str(kind.status) for kind in kinds))} "
        f"| {', '.join(f'`{kind.slug}`' for kind in kinds)} | {advice} |"
        for advice, kinds in by_advice.items()
    ]


def main() -> None:
    before, _, remainder = API.read_text("utf-8").partition(HEAD)
    after = remainder[remainder.index("\n\n") :]
    API.write_text(before + HEAD + "\n".join(advice_rows()) + after, "utf-8")


if __name__ == "__main__":
    main()
