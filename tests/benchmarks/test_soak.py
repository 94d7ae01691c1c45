"""The soak's judgement: what grows is seen, what is wrong is told."""

import httpx
import pytest

from benchmarks import soak
from benchmarks.loading import CannotMeasure


def samples(count=40, **growth):
    return [
        dict.fromkeys(soak.TOLERANCES, 100.0)
        | {name: 100.0 + total * i / (count - 1) for name, total in growth.items()}
        for i in range(count)
    ]


def growing(rows):
    return [row["what"] for row in rows if not row["flat"]]


def test_what_is_flat_is_flat_and_what_grows_is_named():
    assert growing(soak.flatness(samples())) == []
    rows = soak.flatness(samples(front_mb=30, front_files=20, worker_mb=20, worker_threads=-5))
    assert growing(rows) == ["front_mb", "front_files"]


def test_a_peak_in_between_is_no_growth():
    found = samples()
    found[20]["front_mb"] = 5000.0
    (row, *_) = soak.flatness(found)
    assert (row["flat"], row["highest"]) == (True, 5000.0)


def test_too_few_samples_tell_nothing():
    with pytest.raises(CannotMeasure):
        soak.flatness(samples(4))


@pytest.mark.parametrize(
    ("status", "headers", "killed_ago_s", "right"),
    [
        (200, {}, None, True),
        (500, {}, None, False),
        (503, {"retry-after": "1"}, None, False),
        (503, {"retry-after": "1"}, 5, True),
        (503, {}, 5, False),
        (503, {"retry-after": "1"}, 500, False),
    ],
)
def test_503_is_right_only_after_the_kill(
    monkeypatch, status, headers, killed_ago_s, right, capsys
):
    monkeypatch.setattr(soak.time, "monotonic", lambda: 1000.0)
    tally = soak.Tally()
    if killed_ago_s is not None:
        tally.killed_at = 1000.0 - killed_ago_s
    tally.expect("good", httpx.Response(status, headers=headers), {200})
    assert (tally.wrong == []) == right
    assert soak.report(soak.flatness(samples()), tally) == right
    assert capsys.readouterr().out.endswith("\nHOLDS\n" if right else "\nDOES NOT HOLD\n")
