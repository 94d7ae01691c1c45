"""Which checkpoint serves a category without a route.

- The newest finished version of each name claims the categories that it is calibrated for. A
  version whose training was interrupted claims none: it serves only categories routed to it.
- If several names claim a category, the name with the oldest finished version for it serves (with
  equal times, the first by name), so that an added checkpoint never takes a category over. The
  category is contested until an operator routes it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.versions.catalogue import Version


def newest_finished(versions: Iterable[Version]) -> dict[str, Version]:
    """Return each name's newest version that is finished, or that cannot be read."""
    return {
        name: finished[-1]
        for name, group in _by_name(versions).items()
        if (finished := [version for version in group if version.unfinished is None])
    }


def claims(versions: Iterable[Version]) -> dict[Category, list[CheckpointKey]]:
    """Return the versions that claim each category; the first one serves it."""
    groups = _by_name(versions)
    claimants: defaultdict[Category, list[tuple[str, str, CheckpointKey]]] = defaultdict(list)
    for name, newest in newest_finished(versions).items():
        for category in newest.categories:
            first = min(
                version.created
                for version in groups[name]
                if version.unfinished is None and category in version.categories
            )
            claimants[category].append((first, name, newest.key))
    return {
        category: [key for _, _, key in sorted(claimants[category])]
        for category in sorted(claimants)
    }


def unusable(versions: Iterable[Version]) -> dict[CheckpointKey, str]:
    """Return why names claim nothing: the newest version is unreadable, or none is finished."""
    groups = _by_name(versions)
    finished = newest_finished(chain(*groups.values()))
    reasons = {version.key: version.problem for version in finished.values() if version.problem}
    for name, group in groups.items():
        if name not in finished:
            newest = group[-1]
            reasons[newest.key] = (
                f"its training is unfinished ({newest.unfinished}): continue it with mambaad train "
                "--resume, or route its categories to it"
            )
    return reasons


def undecided(
    contested: Mapping[Category, Sequence[CheckpointKey]], versions: Iterable[Version]
) -> list[str]:
    """Return a sentence for each contested category, and for each unfinished newer version."""
    notices = [
        f"{category} is contested: {keys[0]} serves it, and {', '.join(map(str, keys[1:]))} could: "
        f"decide with POST /categories/{category}/route"
        for category, keys in sorted(contested.items())
    ]
    groups = _by_name(versions)
    for name, newest in newest_finished(chain(*groups.values())).items():
        notices += [
            f"{version.key} is unfinished ({version.unfinished}): it serves only categories that "
            "are routed to it"
            for version in groups[name]
            if version.unfinished is not None and int(version.key.version) > int(newest.key.version)
        ]
    return notices


def _by_name(versions: Iterable[Version]) -> Mapping[str, Sequence[Version]]:
    """Return each name's versions, oldest first."""
    groups: defaultdict[str, list[Version]] = defaultdict(list)
    for version in sorted(versions, key=lambda version: int(version.key.version)):
        groups[version.key.name].append(version)
    return groups
