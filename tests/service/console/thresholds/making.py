"""Parts with scores and verdicts, as a line and its reviewers leave them."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from model.inspection import Decision
from service.archive.records import DecisionSource, InspectionRecord, Verdict
from service.archive.searching.sampling import is_sampled
from service.identifiers import new_id
from service.inspection.submission import Origin

SHARE = 0.2
THRESHOLD, REVIEW = 10.0, 9.5


def decide(raw, threshold, review=None):
    """Decide as `Calibration.decide` says: strictly above is NG."""
    if raw > threshold:
        return Decision.NG
    return Decision.REVIEW if review is not None and raw > review else Decision.OK


def part(chance, now, **changes):
    """Return a part of `bolt`; one in five scores is a multiple of 0.25, so there are ties."""
    is_defective = chance.random() < 0.1
    raw = chance.gauss(10.6, 0.8) if is_defective else chance.gauss(8.6, 0.6)
    if chance.random() < 0.2:
        raw = round(raw * 4) / 4
    told = decide(raw, THRESHOLD, REVIEW)
    identifier = new_id()
    verdict = None
    if told is not Decision.OK or is_sampled(identifier, SHARE) or chance.random() < 0.05:
        verdict = Verdict.DEFECTIVE if is_defective else Verdict.GOOD
        verdict = chance.choices([verdict, Verdict.UNSURE, None], [8, 1, 1])[0]
    fields = {
        "inspection_id": identifier,
        "received_at": now - timedelta(minutes=chance.uniform(1, 600)),
        "category": "bolt",
        "told": told,
        "source": DecisionSource.NETWORK,
        "node": "line-1",
        "origin": chance.choice([Origin.LINE, Origin.LINE, Origin.LATE]),
        "found": told,
        "score": min(0.99, max(0.01, raw / 20)),
        "raw_score": raw,
        "threshold": THRESHOLD,
        "review_threshold": REVIEW,
        "model_name": "parts",
        "model_version": "1",
        "verdict": verdict,
    }
    return InspectionRecord(**(fields | changes))


def parts_of_a_shift(count, seed=0, now=None):
    """Return parts of the version parts/1, and some that the page must leave out."""
    chance, now = random.Random(seed), now or datetime.now(UTC)
    made = [part(chance, now) for _ in range(count)]
    undecided = {
        "told": Decision.UNDECIDED, "found": None, "source": DecisionSource.FAIL_SAFE,
        "verdict": None,
    }  # fmt: skip
    others = [
        {"origin": Origin.TEST},
        {"model_version": "2"},
        {"category": "nut"},
        {"received_at": now - timedelta(days=20)},
        {"raw_score": None, "score": None, **undecided},
        undecided,  # one view failed, the other has a score
    ]
    return made + [part(chance, now, **changes) for changes in others for _ in range(7)]


def write(journal, records):
    async def scenario():
        deadline = asyncio.get_running_loop().time() + 60
        await asyncio.gather(*(journal.record(one, deadline) for one in records))

    asyncio.run(scenario())
