"""A host of stand-in networks; needs only the standard library, like the peers' hosts."""

import os
import sys
import time
from pathlib import Path

from benchmarks.peering.turns import WARM_UP, serve

LOG = os.environ.get("STAND_IN_LOG")


def log(name):
    print("a library's greeting")
    if LOG:
        with Path(LOG).open("a") as file:
            file.write(f"{name} ")


def tire():
    calls.append("tired")
    if len(calls) > WARM_UP:
        raise RuntimeError("no more")


def wait():
    log("slow")
    time.sleep(0.006)


calls = []
NETWORKS = {"quick": lambda: log("quick"), "slow": wait, "tired": tire}

if __name__ == "__main__":
    serve(
        sys.argv[2:],
        lambda name: {"a way": NETWORKS[name]},
        lambda: {"threads": int(sys.argv[1])},
    )
