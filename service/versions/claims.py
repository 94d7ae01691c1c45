"""Which checkpoint serves a category that nobody has routed.

- Of each name its newest finished version claims its categories. A version whose training was
  interrupted claims nothing: it serves only where it is routed to.
- A category that several names claim stays with the name that claimed it first: the one with the
  oldest finished version for it, and of versions of one second the first by name. So a checkpoint
  that is added never takes a category over. Such a category is contested until it is routed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.versions.catalogue import Version


def newest_finished(versions: Iterable[Version]) -> dict[str, Version]:
    """Return each name's newest version that is finished, or that cannot be read."""
    return {
        name: finished[-1]
        for name, own in _by_name(versions).items()
        if (finished := [version for version in own if version.unfinished is None])
    }


def claims(versions: Iterable[Version]) -> dict[Category, list[CheckpointKey]]:
    """Return the versions that claim each category, first the one that it stays with."""
    groups = _by_name(versions)
    found: defaultdict[Category, list[tuple[str, str, CheckpointKey]]] = defaultdict(list)
    for name, newest in newest_finished(versions).items():
        for category in newest.categories:
            first = min(
                version.created
                for version in groups[name]
                if version.unfinished is None and category in version.categories
            )
            found[category].append((first, name, newest.key))
    return {category: [key for _, _, key in sorted(own)] for category, own in sorted(found.items())}


def unusable(versions: Iterable[Version]) -> dict[CheckpointKey, str]:
    """Say why a name claims nothing: what would serve cannot be read, or none is finished."""
    known = list(versions)
    finished = newest_finished(known)
    found = {own.key: own.problem for own in finished.values() if own.problem}
    for name, own in _by_name(known).items():
        if name not in finished:
            found[own[-1].key] = (
                f"its training is unfinished, {own[-1].unfinished}: go on with it "
                "(mambaad train --resume), or route its categories to it"
            )
    return found


def undecided(
    contested: Mapping[Category, Sequence[CheckpointKey]], versions: Iterable[Version]
) -> list[str]:
    """Say which categories wait for a decision, and which newer versions were passed over."""
    said = [
        f"{category} is contested: {keys[0]} serves it, and {', '.join(map(str, keys[1:]))} could: "
        f"decide with POST /categories/{category}/route"
        for category, keys in sorted(contested.items())
    ]
    known = list(versions)
    for name, newest in newest_finished(known).items():
        said += [
            f"{version.key} is unfinished ({version.unfinished}): it serves only where routed"
            for version in known
            if version.key.name == name
            and version.unfinished is not None
            and int(version.key.version) > int(newest.key.version)
        ]
    return said


def _by_name(versions: Iterable[Version]) -> Mapping[str, Sequence[Version]]:
    """Sort versions by name, the oldest first."""
    groups: defaultdict[str, list[Version]] = defaultdict(list)
    for version in sorted(versions, key=lambda version: int(version.key.version)):
        groups[version.key.name].append(version)
    return groups
