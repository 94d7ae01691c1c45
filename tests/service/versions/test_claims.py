"""The rule alone decides which of several claims a category keeps."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints.key import CheckpointKey
from service.versions.catalogue import Version
from service.versions.claims import claims, newest_finished, undecided, unusable

MONTHS = [f"2025-{month:02}-01T00:00:00+00:00" for month in range(1, 13)]

versions_of = st.lists(
    st.tuples(
        st.sampled_from(MONTHS),
        st.sets(st.sampled_from(["bolt", "nut", "gear"])),
        st.sampled_from(["finished", "finished", "unfinished", "damaged"]),
    ),
    min_size=1,
    max_size=4,
)
stores = st.dictionaries(st.sampled_from(["a", "b", "c", "parts"]), versions_of, max_size=4)


def version(name, number, created, categories, kind):
    key = CheckpointKey(name, str(number))
    if kind == "damaged":
        return Version(key, problem="its manifest is damaged")
    unfinished = "3 of 100 epochs done" if kind == "unfinished" else None
    return Version(key, created, dict.fromkeys(categories), unfinished=unfinished)


def built(store):
    return [
        version(name, number, *values)
        for name, versions in store.items()
        for number, values in enumerate(versions, 1)
    ]


@settings(max_examples=200, deadline=None)
@given(store=stores, seed=st.integers(0, 99))
def test_the_choice_is_the_rules_and_not_the_order_in_which_versions_are_found(store, seed):
    registry = built(store)
    shuffled = random.Random(seed).sample(registry, len(registry))
    assert claims(registry) == claims(shuffled)
    for category, keys in claims(registry).items():
        assert len({key.name for key in keys}) == len(keys)
        ages = []
        for key in keys:
            versions = store[key.name]
            kinds = [kind for _, _, kind in versions]
            assert kinds[int(key.version) - 1] == "finished"
            assert set(kinds[int(key.version) :]) <= {"unfinished"}
            claimed = [c for c, names, kind in versions if kind == "finished" and category in names]
            ages.append((min(claimed), key.name))
        assert ages == sorted(ages)


@settings(max_examples=100, deadline=None)
@given(store=stores, created=st.sampled_from(MONTHS))
def test_an_unfinished_version_changes_nothing(store, created):
    before = claims(built(store))
    more = {n: [*versions, (created, {"bolt"}, "unfinished")] for n, versions in store.items()}
    assert claims(built(more)) == before


@settings(max_examples=100, deadline=None)
@given(store=stores)
def test_a_name_that_is_created_last_takes_nothing_over(store):
    before = claims(built(store))
    later = store | {"zzz": [("2026-01-01T00:00:00+00:00", {"bolt", "nut", "gear"}, "finished")]}
    after = claims(built(later))
    assert all(after[category][0] == keys[0] for category, keys in before.items())


def test_a_damaged_newest_version_is_named_and_no_older_one_steps_in():
    registry = built({"parts": [(MONTHS[0], {"bolt"}, "finished"), (MONTHS[1], set(), "damaged")]})
    assert claims(registry) == {}
    assert unusable(registry) == {CheckpointKey("parts", "2"): "its manifest is damaged"}
    assert newest_finished(registry)["parts"].key.version == "2"


def test_only_unfinished_versions_that_are_newer_than_what_serves_are_told():
    kinds = ["unfinished", "finished", "unfinished"]
    registry = built({"parts": [(MONTHS[0], {"bolt"}, kind) for kind in kinds]})
    (line,) = undecided({}, registry)
    assert line.startswith("parts/3 is unfinished (3 of 100 epochs done)")
