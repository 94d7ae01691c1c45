"""Options of `mambaad calibrate` for defective examples, and the goal they describe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.calibration.operating_point import Goal

_PANEL = "With defective examples"

Defects: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--defects",
        metavar="DIR",
        help="Defective examples, none from the test split: DIR/<category>/, or DIR itself for "
        "a single --category. They may be in folders by kind.",
        rich_help_panel=_PANEL,
    ),
]
TargetEscapeRate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="At most this share of defects may pass as OK; scores between that threshold and "
        "the NG threshold become REVIEW.",
        rich_help_panel=_PANEL,
    ),
]
NoReview: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-review",
        help="With --target-escape-rate: NG instead of REVIEW, regardless of --alpha.",
        rich_help_panel=_PANEL,
    ),
]
F1Max: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--f1-max", help="Use the NG threshold with the highest F1.", rich_help_panel=_PANEL
    ),
]
CostFalseReject: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Cost of a rejected good part; with --cost-escape, finds the thresholds with the "
        "lowest cost per part.",
        rich_help_panel=_PANEL,
    ),
]
CostEscape: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Cost of a defect that passes as OK.", rich_help_panel=_PANEL),
]
CostReview: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Cost of a review by a person; opens a REVIEW band if that lowers the total cost.",
        rich_help_panel=_PANEL,
    ),
]
DefectRate: TypeAlias = Annotated[
    float,
    typer.Option(help="With costs: the share of defective parts.", rich_help_panel=_PANEL),
]


def goal_of(
    target_escape_rate: float | None,
    no_review: bool,
    f1_max: bool,
    cost_false_reject: float | None,
    cost_escape: float | None,
    cost_review: float | None,
    defect_rate: float,
) -> "Goal | None":
    """Return the goal; raises `CalibrationError` for an incomplete goal, or for two."""
    from model.calibration.operating_point import EscapeRate, HighestF1, LowestCost

    costs = {"--cost-false-reject": cost_false_reject, "--cost-escape": cost_escape}
    given = [name for name, cost in costs.items() if cost is not None]
    goals_given = [target_escape_rate is not None, f1_max, bool(given)]
    if sum(goals_given) > 1:
        raise CalibrationError("give only one of --target-escape-rate, --f1-max and the costs")
    if given and len(given) < len(costs):
        raise CalibrationError(f"{given[0]} alone is not enough: give both {' and '.join(costs)}")
    if cost_review is not None and not given:
        raise CalibrationError(f"--cost-review needs {' and '.join(costs)}")
    if no_review and target_escape_rate is None:
        raise CalibrationError("--no-review needs --target-escape-rate")
    if target_escape_rate is not None:
        return EscapeRate(target_escape_rate, review=not no_review)
    if f1_max:
        return HighestF1()
    if cost_false_reject is None or cost_escape is None:
        return None
    return LowestCost(
        false_reject=cost_false_reject,
        escape=cost_escape,
        review=cost_review,
        defect_rate=defect_rate,
    )
