"""Ends an actor's process that does nothing any more, from a task on its node.

Ray's own call to end an actor asks the process itself, which a stopped one does not hear.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def kill_actor_process(node_id: str, pid: int, class_name: str) -> None:
    """Have an actor's process killed; Ray then starts the actor again. Does not wait for it."""
    ray.remote(_kill).options(
        num_cpus=0,
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
    ).remote(pid, class_name)


def _kill(pid: int, class_name: str) -> None:
    with suppress(OSError):
        # Meanwhile the number may be another process's.
        if f"ray::{class_name}" in Path(f"/proc/{pid}/cmdline").read_text("utf-8"):
            os.kill(pid, signal.SIGKILL)
