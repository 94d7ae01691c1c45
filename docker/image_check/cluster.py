"""Runs the image `cluster` as the pods of docker/kubernetes/overlays/cluster do.

A head of Ray without cores, a node that computes, and a service beside a node without cores. Each
is in a sandbox of its own; addresses of the loopback device stand for those of pods.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from docker.image_check.inspecting import Answer, check_answers, check_stop, serving, tail
from docker.image_check.programs import CheckFailed
from docker.image_check.sandbox import Sandbox, Volume

HEAD, WORKER, SERVICE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
START_S = 120.0
STARTS = {
    HEAD: "--head --port=6379 --num-cpus=0 --include-dashboard=false",
    WORKER: f"--address={HEAD}:6379 --num-cpus=2 --node-manager-port=6380",
    SERVICE: f"--address={HEAD}:6379 --num-cpus=0 --node-manager-port=6381",
}
"""The options of each node. All share one host, so the service's has another port."""

VARIABLES = {
    "MAMBAAD_CLUSTER__ADDRESS": "auto",
    "MAMBAAD_CLUSTER__CPUS_PER_WORKER": "2",
    "MAMBAAD_WORKERS__DEVICES": "cpu",
}


def check_cluster(sandbox: Sandbox, work: Path, expected: Mapping[str, Answer]) -> None:
    """Inspect the samples by a worker on another node than the service's, and stop the service."""
    began = time.monotonic()
    with ExitStack() as pods:
        shared = {address: pods.enter_context(shared_folders(sandbox)) for address in STARTS}
        for address in STARTS:
            node = with_volumes(sandbox, shared[address], {"RAY_USAGE_STATS_ENABLED": "0"})
            # The last one is of the service's pod.
            beside = pods.enter_context(ray_node(node, address, work / f"ray-{address}.log"))
        log = work / "cluster.log"
        pod = with_volumes(sandbox, shared[SERVICE], VARIABLES)
        with serving(replace(pod, beside=beside), log) as server:
            ready_s = time.monotonic() - began
            check_answers(expected, tolerance=1e-4)
            sandbox.run(*sandbox.image.health_command)
            stopped_s = check_stop(server, log, grace_s=75)
    print(
        f"cluster: ready {ready_s:.1f} s after the head's start, both samples answered; SIGTERM "
        f"ended the service in {stopped_s:.1f} s",
        flush=True,
    )


@contextmanager
def shared_folders(sandbox: Sandbox) -> Iterator[list[Volume]]:
    """Make the volumes that the containers of a pod share: Ray's files, and its shared memory."""
    user = int(sandbox.image.user.partition(":")[0])
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as files,
        tempfile.TemporaryDirectory(prefix="ray-", dir="/dev/shm") as memory,
    ):
        for folder in (files, memory):
            os.chown(folder, user, user)
        yield [
            Volume(Path(files), "/tmp/ray", writable=True),
            Volume(Path(memory), "/dev/shm", writable=True),
        ]


def with_volumes(sandbox: Sandbox, volumes: list[Volume], variables: Mapping[str, str]) -> Sandbox:
    """Return the sandbox with more volumes and variables."""
    return replace(
        sandbox,
        volumes=[*sandbox.volumes, *volumes],
        environment={**sandbox.environment, **variables},
    )


@contextmanager
def ray_node(sandbox: Sandbox, address: str, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a node of Ray; KubeRay starts its own in a login shell, too."""
    words = f"ray start {STARTS[address]} --node-ip-address={address}"
    command = f"ulimit -n 65536; {words} --object-store-memory=104857600 --block"
    with sandbox.start("/bin/bash", "-lc", command, output=log) as node:
        end = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text("utf-8", "replace"):
            if node.poll() is not None or time.monotonic() > end:
                raise CheckFailed(f"Ray's node {address} did not start:\n{tail(log)}")
            time.sleep(0.2)
        if address == HEAD:  # as the containers do that KubeRay starts before each other node
            sandbox.run("ray", "health-check", "--address", f"{HEAD}:6379")
        yield node
