"""The parameters of a search and of a summary, as the query has them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from model.inspection import Decision
from service.archive.records import Verdict
from service.archive.searching.search import NO_VERDICT, Filter, VerdictFilter
from service.archive.searching.summary import Period, Step
from service.errors import InvalidRequest
from service.inspection.options import Strict
from service.inspection.submission import Origin

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_MAX_LIMIT = 500
_MAX_STEPS = 1000
_DEFAULT_STEPS = {Step.HOUR: timedelta(days=1), Step.DAY: timedelta(days=30)}


def _check_time(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError(f"expected a time from {_EARLIEST:%Y} to {_LATEST:%Y}, got {moment}")
    return moment.astimezone(UTC)


_Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Time = Annotated[AwareDatetime, AfterValidator(_check_time)]
_Score = Annotated[float, Field(ge=0, le=1)]
_SINCE = "received at this time or later; ISO 8601 with a time zone: `2026-11-29T06:00:00Z`"


class _Range(Strict):
    model_config = ConfigDict(allow_inf_nan=False)

    category: _Text | None = Field(None, description="kind of part")
    station: _Text | None = Field(None, description="as posted")
    origin: Origin | None = Field(
        None, description="`line`: the line waited for the answer; `test`: tried; `late`: reported"
    )
    since: _Time | None = Field(None, description=_SINCE)
    until: _Time | None = Field(None, description="received before this time")

    def check_times(self) -> None:
        """Raise `InvalidRequest` for a range of times that is empty."""
        if self.since and self.until and self.since >= self.until:
            raise InvalidRequest(
                f"since must be before until, got {self.since.isoformat()} and "
                f"{self.until.isoformat()}"
            )


class FilterQuery(_Range):
    """Which inspections; parameters are combined with AND."""

    part_id: _Text | None = Field(None, description="as posted")
    job_id: _Text | None = Field(None, description="as posted")
    told: Decision | None = Field(None, description="the decision that the line acted on")
    found: Decision | None = Field(None, description="the network's decision")
    verdict: Literal["good", "defective", "unsure", "none"] | None = Field(
        None, description="the newest verdict; `none`: nobody gave one"
    )
    model: _Text | None = Field(None, description="`name` or `name/version` of the checkpoint")
    min_score: _Score | None = Field(None, description="lowest score, 0 to 1")
    max_score: _Score | None = Field(None, description="highest score, 0 to 1")
    is_held: bool | None = Field(None, description="whether a hold keeps it from being deleted")
    open_review: bool = Field(
        False, description="true: told REVIEW or UNDECIDED, and nobody gave a verdict"
    )

    @property
    def wanted(self) -> Filter:
        """The filter. Raises `InvalidRequest` for an empty range."""
        self.check_times()
        low, high = self.min_score, self.max_score
        if low is not None and high is not None and low > high:
            raise InvalidRequest(f"min_score must be at most max_score, got {low:g} and {high:g}")
        name, _, version = (self.model or "").partition("/")
        return Filter(
            category=self.category, station=self.station, part_id=self.part_id, job_id=self.job_id,
            told=self.told, found=self.found, verdict=_verdict(self.verdict),
            model_name=name or None, model_version=version or None, origin=self.origin,
            since=self.since, until=self.until, min_score=low, max_score=high,
            is_held=self.is_held, is_open_review=self.open_review,
        )  # fmt: skip


class SearchQuery(FilterQuery):
    """The query of a search."""

    cursor: str | None = Field(
        None, max_length=200, description="from the last answer, with the same other parameters"
    )
    limit: int = Field(50, ge=1, le=_MAX_LIMIT, description="inspections in the answer, at most")


class SummaryQuery(_Range):
    """The query of a summary."""

    by: Step = Field(Step.HOUR, description="`hour` or `day`, of UTC")

    @property
    def period(self) -> Period:
        """The period, by default up to now. Raises `InvalidRequest`."""
        self.check_times()
        until = self.until or max(datetime.now(UTC), self.since or _EARLIEST)
        since = self.since or max(_EARLIEST, until - _DEFAULT_STEPS[self.by])
        period = Period.around(since, until, self.by)
        if period.steps > _MAX_STEPS:
            raise InvalidRequest(
                f"from since to until may be {_MAX_STEPS} steps, got {period.steps} steps of an "
                f"{self.by.value}: take `by=day` or a shorter time"
            )
        return period


def _verdict(name: str | None) -> VerdictFilter | None:
    if name is None:
        return None
    return NO_VERDICT if name == NO_VERDICT else Verdict(name)
