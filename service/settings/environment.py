"""The process's environment: the variables of the service, and those that tune torch."""

import os

PREFIX = "MAMBAAD_"
DELIMITER = "__"


def variable_of(room: str, field: str) -> str:
    """Return the name of a setting's variable, such as MAMBAAD_HTTP__PORT."""
    return f"{PREFIX}{room}{DELIMITER}{field}".upper()


def given_variables() -> dict[str, str]:
    """Return the variables that look like settings, by their names in capitals."""
    given = {name.upper(): text for name, text in os.environ.items()}
    return {name: text for name, text in given.items() if name.startswith(PREFIX)}


def tune_torch() -> None:
    """Have torch ask for huge pages and spin briefly, here and in processes started from here.

    What the user has set stays. A batch's feature maps are megabytes each, made and freed over and
    over: clearing them in small pages took a third of the time. And OpenMP's threads, which by
    default spin for milliseconds after each parallel region, took the cores from decoding. torch
    and its OpenMP read the variables once, so this goes before their import.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
