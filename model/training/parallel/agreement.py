"""Checks that the processes of a training, which may be on several hosts, train the same."""

from collections.abc import Mapping
from pathlib import Path

from model.errors import CheckpointError, ConfigError
from model.training.parallel.group import Group


def check_agreement(group: Group, identity: Mapping[str, str]) -> None:
    """Raise `ConfigError` in every process if one has other settings or images than the first.

    `identity` are a run's values by their names. Equal names and sizes count as equal images.
    """
    identities = group.collect(dict(identity))
    first = identities[0]
    for rank, other in enumerate(identities):
        differences = [
            f"{key} is {other.get(key)} there and {first.get(key)} on process 0"
            for key in sorted(first.keys() | other.keys())
            if first.get(key) != other.get(key)
        ]
        if differences:
            raise ConfigError(
                f"process {rank} trains on something else than process 0: "
                f"{'; '.join(differences)}; give every host the same command and copies of the "
                "same images"
            )


def check_state(group: Group, file: Path) -> None:
    """Raise `CheckpointError` in every process if the first one has no state to resume.

    Only the first process reads it, and sends it to the others.
    """
    holders = [rank for rank, is_there in enumerate(group.collect(file.is_file())) if is_there]
    if 0 in holders:
        return
    elsewhere = ""
    if holders:
        elsewhere = (
            f"; process {holders[0]} has one: start the host that led the run before with "
            "--node-rank 0, or copy the folder to the host that has it now"
        )
    raise CheckpointError(f"nothing to resume: no file {file} on process 0{elsewhere}")
