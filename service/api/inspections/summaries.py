"""The answer of `/inspections/summary`."""

from datetime import datetime

from pydantic import Field

from model.inspection import Decision
from service.api.schemas import Answer
from service.archive.records import Verdict
from service.archive.searching.summary import Count, Step, Summary
from service.archive.tables import SCORE_BINS


class CountAnswer(Answer):
    """The number of parts with this decision told and this verdict."""

    told: Decision = Field(description="the decision that the line acted on")
    verdict: Verdict | None = Field(description="the newest verdict; null: nobody gave one")
    parts: int = Field(description="number of parts")


class StepAnswer(Answer):
    """The counts of an hour or a day."""

    at: datetime = Field(description="its beginning, in UTC")
    counts: list[CountAnswer] = Field(description="each combination that occurred")


class ScoresAnswer(Answer):
    """Parts that were told one decision, by score."""

    told: Decision = Field(description="the decision that the line acted on")
    bins: list[int] = Field(
        min_length=SCORE_BINS, max_length=SCORE_BINS,
        description=f"{SCORE_BINS} bins of equal width from score 0 to 1; 0.5 is the threshold",
    )  # fmt: skip
    without_score: int = Field(description="parts that were not inspected")


class SummaryAnswer(Answer):
    """Counts of parts; those of origin `test` are not counted."""

    since: datetime = Field(description="beginning of the first hour that is counted")
    until: datetime = Field(description="end of the last hour that is counted")
    by: Step = Field(description="`hour` or `day`, of UTC")
    counts: list[CountAnswer] = Field(description="of the whole time")
    steps: list[StepAnswer] = Field(description="oldest first, without empty ones")
    scores: list[ScoresAnswer] = Field(description="histogram of the whole time, by decision")

    @classmethod
    def of(cls, summary: Summary) -> "SummaryAnswer":
        """Describe a summary."""
        return cls(
            since=summary.period.since,
            until=summary.period.until,
            by=summary.period.step,
            counts=list(map(_count, summary.counts)),
            steps=[
                StepAnswer(at=step.at, counts=list(map(_count, step.counts)))
                for step in summary.steps
            ],
            scores=[
                ScoresAnswer(told=of.told, bins=list(of.bins), without_score=of.without_score)
                for of in summary.scores
            ],
        )


def _count(count: Count) -> CountAnswer:
    return CountAnswer(told=count.told, verdict=count.verdict, parts=count.parts)
