"""The rates: weighted by the sample's shares, with intervals that hold as often as they say."""

from collections import Counter

import numpy as np
import pytest

from model.inspection import Decision
from service.console.thresholds.estimates import estimate, wilson
from service.console.thresholds.scores import ScoredParts

OK, REVIEW, NG = 0, 1, 2
NONE, GOOD, DEFECTIVE, UNSURE = range(4)


def parts_of(rows):
    """Return parts of (raw, told, verdict) or (raw, told, verdict, is_sampled)."""
    rows = sorted(((*row, True)[:4] for row in rows), key=lambda row: row[0])
    raw, told, verdicts, is_sampled = (np.array(column) for column in zip(*rows, strict=True))
    return ScoredParts(
        raw.astype(float), told.astype(np.int8), verdicts.astype(np.int8), is_sampled.astype(bool),
        read=len(rows), of_others=0, undecided=0, oldest=None,
    )  # fmt: skip


def at(estimates, curve, place):
    index = np.searchsorted(estimates.scores, place, side="right")
    return tuple(float(getattr(curve, name)[index]) for name in ("rate", "low", "high", "share"))


def by_hand(parts, threshold, review):
    """Recount the weighted rates part by part."""
    weights = {}
    for told in set(parts.told.tolist()):
        of_stratum = parts.told == told
        judged = int((of_stratum & parts.is_judged).sum())
        weights[told] = int(of_stratum.sum()) / judged if judged else 0
    good = rejected = defective = passed = 0.0
    for raw, told, verdict, counts in zip(
        parts.raw, parts.told, parts.verdicts, parts.is_judged, strict=True
    ):
        if not counts:
            continue
        weight = weights[int(told)]
        if verdict == GOOD:
            good += weight
            rejected += weight * (raw > threshold)
        else:
            defective += weight
            passed += weight * (raw <= review)
    return rejected / good, passed / defective


def drawn(random, size=4000, share=0.1):
    """Return parts of a line with known rates, judged as the page Review asks."""
    is_defective = random.random(size) < 0.06
    raw = np.where(is_defective, random.normal(2.2, 1.0, size), random.normal(0, 0.8, size))
    told = np.where(raw > 1.6, NG, np.where(raw > 1.2, REVIEW, OK))
    is_judged = (told != OK) | (random.random(size) < share)
    verdicts = np.where(is_judged, np.where(is_defective, DEFECTIVE, GOOD), NONE)
    order = np.argsort(raw)
    everybody = np.ones(size, bool)
    columns = (raw, told.astype(np.int8), verdicts.astype(np.int8), everybody)
    return ScoredParts(*(column[order] for column in columns), size, 0, 0, None)


def test_a_verdict_stands_for_the_parts_that_nobody_judged():
    rows = [(0.1, OK, NONE)] * 90 + [(0.2, OK, GOOD)] * 9 + [(0.3, OK, DEFECTIVE)]
    rows += [(0.8, NG, GOOD)] * 2 + [(0.9, NG, DEFECTIVE)] * 8
    estimates = estimate(parts_of(rows))
    weights = {stratum.told: stratum.weight for stratum in estimates.strata}
    assert weights == {Decision.OK: 10.0, Decision.NG: 1.0}
    # 9 x 10 + 2 good parts, of which 2 are rejected; 10 + 8 defective ones, of which 10 pass.
    rate, low, high, share = at(estimates, estimates.false_rejects, 0.5)
    assert (rate, share) == pytest.approx((2 / 92, 2 / 110))
    assert low < rate < high
    rate, low, high, share = at(estimates, estimates.escapes, 0.5)
    assert (rate, share) == pytest.approx((10 / 18, 10 / 110))
    assert low < rate < high
    assert at(estimates, estimates.escapes, 0.1)[0] == 0
    assert at(estimates, estimates.escapes, 0.9)[0] == 1  # at the highest score all pass


def test_verdicts_outside_the_sample_do_not_count():
    rows = [(0.1, OK, NONE)] * 90 + [(0.2, OK, GOOD)] * 10
    rows += [(0.9, NG, DEFECTIVE)] * 10
    chosen = [(0.3, OK, DEFECTIVE, False)] * 20  # people looked for escapes, and found them
    without, with_chosen = estimate(parts_of(rows)), estimate(parts_of(rows + chosen))
    assert at(without, without.escapes, 0.5)[0] == 0
    assert at(with_chosen, with_chosen.escapes, 0.5)[0] == 0
    assert (with_chosen.good, with_chosen.defective) == (10, 10)
    assert with_chosen.strata[0].weight == 12  # 120 OK parts, 10 of them judged


def test_unsure_is_no_verdict():
    rows = [(0.1, OK, GOOD)] * 10 + [(0.9, NG, DEFECTIVE)] * 5 + [(0.8, NG, UNSURE)] * 5
    estimates = estimate(parts_of(rows))
    assert estimates.strata[1].weight == 2
    assert at(estimates, estimates.escapes, 0.5)[0] == 0


def test_rates_equal_a_recount_at_every_place():
    random = np.random.default_rng(3)
    parts = drawn(random, 1500)
    estimates = estimate(parts)
    places = np.concatenate([random.uniform(-3, 5, 40), random.choice(estimates.scores, 20)])
    for place in places:
        rejected, passed = by_hand(parts, place, place)
        assert at(estimates, estimates.false_rejects, place)[0] == pytest.approx(rejected)
        assert at(estimates, estimates.escapes, place)[0] == pytest.approx(passed)
    for curve in (estimates.false_rejects, estimates.escapes):
        assert np.all(curve.low <= curve.rate + 1e-6)
        assert np.all(curve.rate <= curve.high + 1e-6)


def test_no_escape_among_few_of_many_parts_promises_little():
    rows = [(0.1, OK, NONE)] * 9900 + [(0.2, OK, GOOD)] * 100 + [(0.9, NG, DEFECTIVE)] * 50
    estimates = estimate(parts_of(rows))
    rate, low, high, _ = at(estimates, estimates.escapes, 0.5)
    assert (rate, low) == (0, pytest.approx(0, abs=1e-6))
    # Wilson: up to 3.7 % of 10,000 OK parts may be defective, against 50 that were rejected.
    assert high == pytest.approx(370 / (370 + 50), abs=0.01)


def test_a_single_sample_has_the_interval_of_wilson():
    rows = [(0.2, NG, GOOD)] * 30 + [(0.8, NG, GOOD)] * 10
    estimates = estimate(parts_of(rows))
    rate, low, high, _ = at(estimates, estimates.false_rejects, 0.5)
    expected = wilson(np.array([10.0]), np.array([40.0]))
    assert (rate, low, high) == pytest.approx((0.25, expected[0][0], expected[1][0]), abs=1e-6)


def test_without_a_judged_ok_part_nothing_is_known():
    rows = [(0.1, OK, NONE)] * 90 + [(0.9, NG, DEFECTIVE)] * 5 + [(0.8, NG, GOOD)] * 5
    estimates = estimate(parts_of(rows))
    assert np.isnan(estimates.false_rejects.rate).all()
    assert np.isnan(estimates.escapes.share).all()
    nothing = estimate(parts_of([(0.1, OK, NONE), (0.9, NG, NONE)]))
    assert np.isnan(nothing.escapes.rate).all()


def test_decisions_without_a_verdict_are_left_out():
    rows = [(0.1, OK, GOOD)] * 10 + [(0.6, REVIEW, NONE)] * 7 + [(0.9, NG, DEFECTIVE)] * 5
    estimates = estimate(parts_of(rows))
    assert estimates.unjudged == 7
    assert at(estimates, estimates.escapes, 0.5)[0] == 0


def test_intervals_cover_the_true_rates():
    """Of 300 lines with known rates, about 95 % have the rate within the interval."""
    random, lines = np.random.default_rng(11), 300
    large = np.random.default_rng(1).normal(size=1_000_000)
    truths = {
        (name, place): float(share)
        for place in (0.6, 1.2, 2.0)
        for name, share in (
            ("false_rejects", (0.8 * large > place).mean()),
            ("escapes", (2.2 + large <= place).mean()),
        )
    }
    covered = Counter()
    for _ in range(lines):
        estimates = estimate(drawn(random))
        for (name, place), rate in truths.items():
            _, low, high, _ = at(estimates, getattr(estimates, name), place)
            covered[name, place] += bool(low <= rate <= high)
    assert len(covered) == 6
    for key, count in covered.items():
        assert 0.92 <= count / lines <= 0.99, (key, count / lines)
