"""The evaluations that a manifest's section `metrics` records.

    metrics = recorded_with(manifest.metrics, results)       # `mambaad evaluate`
    for results in recorded(metrics): ...                    # the newest first

The section has the entries of the newest evaluation, as older programs read them, and `earlier` has
those before it. `evaluated` says what each was made on:

    {"data": "gasket", "date": "2026-11-30T13:05:00+00:00", "software": "0.9.0", "calibration": 1,
     "categories": {"gasket": {"sha256": "0123...", "images": 120, "masks": 54}}}

The results of a category are replaced by newer ones on the same test images, and by any newer ones
if they do not say what they were made on, as those of older programs.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

EARLIER, EVALUATED, CATEGORIES = "earlier", "evaluated", "categories"
MOST_EVALUATIONS = 20
"""More evaluations than these are forgotten, the oldest first."""

_OF_ALL = ("mean", "mean_intervals", "acceptance")
"""Entries that say nothing true of a part of the categories."""

Results = dict[str, Any]


def recorded(metrics: Mapping[str, Any]) -> list[Results]:
    """Return each evaluation's results, the newest first; leaves out what has another form."""
    earlier = metrics.get(EARLIER)
    entries = [metrics, *(earlier if isinstance(earlier, list | tuple) else ())]
    return [
        {key: value for key, value in entry.items() if key != EARLIER}
        for entry in entries[: 1 + MOST_EVALUATIONS]
        if _mapping(_mapping(entry).get(CATEGORIES))
    ]


def recorded_with(metrics: Mapping[str, Any], results: Mapping[str, Any]) -> Results:
    """Return the section with a new evaluation's results, which stand first."""
    entries = [
        kept
        for entry in recorded(metrics)
        if (kept := _without(entry, set(_superseded(entry, results)))) is not None
    ]
    return _section([dict(results), *entries][:MOST_EVALUATIONS])


def recorded_without(metrics: Mapping[str, Any], categories: Collection[str]) -> Results:
    """Return the section without the results of these categories, whose thresholds have changed."""
    left = [_without(entry, categories) for entry in recorded(metrics)]
    return _section([entry for entry in left if entry is not None])


def _section(entries: Sequence[Results]) -> Results:
    if not entries:
        return {}
    newest, *earlier = entries
    return {**newest, **({EARLIER: earlier} if earlier else {})}


def _superseded(entry: Results, newer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the categories of `entry` that `newer` has on the same images, or on unknown ones."""
    for category in entry[CATEGORIES]:
        if category in _mapping(newer.get(CATEGORIES)):
            before = _digest(entry, category)
            if before is None or before == _digest(newer, category):
                yield category


def _digest(entry: Mapping[str, Any], category: str) -> object:
    tested = _mapping(_mapping(entry.get(EVALUATED)).get(CATEGORIES))
    return _mapping(tested.get(category)).get("sha256")


def _without(entry: Results, categories: Collection[str]) -> Results | None:
    """Return an evaluation without some categories; None if none is left."""
    left = {k: v for k, v in entry[CATEGORIES].items() if k not in categories}
    if len(left) == len(entry[CATEGORIES]):
        return entry
    if not left:
        return None
    kept = {key: value for key, value in entry.items() if key not in _OF_ALL}
    kept[CATEGORIES] = left
    for key in (EVALUATED, "baselines"):
        section = _mapping(kept.get(key))
        if section:
            parts = _mapping(section.get(CATEGORIES))
            of_left = {name: value for name, value in parts.items() if name in left}
            kept[key] = {k: v for k, v in section.items() if k not in _OF_ALL}
            kept[key][CATEGORIES] = of_left
    contradictions = kept.get("contradictions")
    if isinstance(contradictions, list | tuple):
        kept["contradictions"] = [c for c in contradictions if _mapping(c).get("category") in left]
    return kept


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
