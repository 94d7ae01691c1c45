"""Accept criteria as a user writes them: limits of an evaluation's figures.

    criterion = parse("escapes[crack] <= 5% at 95%")

`model.evaluation.acceptance` judges them. This module imports little, so that a mistake is refused
at once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from model.errors import ConfigError, DatasetError

MOST, LEAST = "<=", ">="
ESCAPES, FALSE_REJECTS = "escapes", "false-rejects"
RATES = {ESCAPES: "escape_rate", FALSE_REJECTS: "false_reject_rate"}
RANKS = {"image-auroc": "image_auroc", "aupro": "aupro"}
_WRITTEN = re.compile(
    r"\s*(?P<figure>[a-z_-]+)\s*(?:\[(?P<kind>.*)\])?\s*(?P<sign><=|>=|[≤≥])\s*"
    r"(?P<limit>[0-9]*\.?[0-9]+\s*%?)\s*(?:at\s+(?P<level>[0-9]*\.?[0-9]+\s*%?))?\s*",
    re.DOTALL,
)
ALLOWED = (
    "escapes<=2%, escapes[KIND]<=5%, false-rejects<=1%, image-auroc>=98%, aupro>=90%; each also "
    "with 'at 95%', for the end of its interval"
)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A limit of one figure; `kind` is a kind of defect, `level` that of the interval to use."""

    figure: str
    limit: float
    kind: str | None = None
    level: float | None = None

    @property
    def sign(self) -> str:
        """The direction of the limit: rates have a highest value, rankings a lowest."""
        return MOST if self.figure in RATES else LEAST

    @property
    def text(self) -> str:
        """The criterion in one form, whatever the user's spacing."""
        kind = "" if self.kind is None else f"[{self.kind}]"
        level = "" if self.level is None else f" at {percent_text(self.level)}"
        return f"{self.figure}{kind} {self.sign} {percent_text(self.limit)}{level}"


def parse(text: str) -> Criterion:
    """Read a criterion; raises `ConfigError` with the allowed ones."""
    written = _WRITTEN.fullmatch(text)
    figure = written["figure"].replace("_", "-") if written else ""
    if written is None or figure not in {*RATES, *RANKS}:
        raise ConfigError(f"--accept {text!r} is not a criterion; allowed: {ALLOWED}")
    limit = _share(written["limit"], text)
    level = None if written["level"] is None else _share(written["level"], text)
    criterion = Criterion(figure, limit, written["kind"], level)
    sign = {"≤": MOST, "≥": LEAST}.get(written["sign"], written["sign"])
    if sign != criterion.sign:
        raise ConfigError(
            f"--accept {text!r} accepts the worst: {figure} takes {criterion.sign}; "
            f"allowed: {ALLOWED}"
        )
    if criterion.kind is not None and figure != ESCAPES:
        raise ConfigError(f"--accept {text!r}: only escapes are by kind; allowed: {ALLOWED}")
    if level is not None and not 0.5 <= level < 1:
        raise ConfigError(
            f"--accept {text!r}: the level of an interval is from 50% to below 100%, as 'at 95%'"
        )
    return criterion


def _share(text: str, criterion: str) -> float:
    """Read 2%, 2 % or 0.02; a bare number of 1 or more could mean either."""
    number = Decimal(text.rstrip("% \t"))  # 2.9% is the nearest float to 29 of 1000
    share = float(number / 100 if "%" in text else number)
    if not 0 <= share <= 1 or ("%" not in text and share == 1):
        raise ConfigError(f"--accept {criterion!r}: give a share as 2% or 0.02, got {text.strip()}")
    return share


def percent_text(share: float) -> str:
    """Return a share in percent with up to four digits, as criteria are written."""
    return f"{100 * share:.4g}%"


def check_kinds(criteria: Iterable[Criterion], kinds: Iterable[str]) -> None:
    """Raise `DatasetError` for a criterion about a kind of defect that no test image shows."""
    have = sorted(set(kinds))
    for criterion in criteria:
        if criterion.kind is not None and criterion.kind not in have:
            raise DatasetError(
                f"--accept {criterion.text!r}: no test image shows {criterion.kind!r}; the kinds "
                f"of defect are {', '.join(have) or 'none'}"
            )
