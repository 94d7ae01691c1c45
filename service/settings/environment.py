"""The process's environment: variables of the service, variables that tune torch, and cores."""

import os

PREFIX = "MAMBAAD_"
DELIMITER = "__"


def variable_of(room: str, field: str) -> str:
    """Return the name of a setting's variable, such as MAMBAAD_HTTP__PORT."""
    return f"{PREFIX}{room}{DELIMITER}{field}".upper()


def given_variables() -> dict[str, str]:
    """Return the variables with the service's prefix, by their names in capitals."""
    given = {name.upper(): text for name, text in os.environ.items()}
    return {name: text for name, text in given.items() if name.startswith(PREFIX)}


def variable(name: str) -> str | None:
    """Return the text of a variable that a setting names; None if it is not set."""
    return os.environ.get(name)


def tune_torch() -> None:
    """Make torch use huge pages, and computing threads spin briefly, here and in children.

    Variables set by the user stay. Clearing a batch's feature maps in small pages took a third of
    the time. OpenMP's threads, which by default spin for milliseconds after each parallel region,
    took the cores from decoding. NumPy's OpenBLAS computes in the calling thread: its own threads
    would spin after each call, too, and each lane has a thread already. Call this before torch and
    NumPy are imported: they read the variables once.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def silence_ray() -> None:
    """Keep Ray, here and in its processes that start here, from reporting its use to its makers.

    Call this before Ray is imported.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
