"""Ray nodes on this machine, in a program of its own: `python -m tests.service.cluster.nodes`.

All files are in the folder of the variable RAY_TMPDIR.
It prints the cluster's address, then obeys a line each: "add NAME", "drain NAME", "end NAME" (kills
all of the node's processes), and the end of its input. After each it prints "done", and after "add"
the node's id.
"""

import os
import sys
import time

os.environ |= {"RAY_health_check_timeout_ms": "60000"}

from tests.service.cluster.patience import be_patient, free_ports  # isort: split

import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

DRAIN_S = 600.0


def add(cluster: Cluster) -> object:
    return cluster.add_node(
        wait=True,
        num_cpus=1,
        num_gpus=0,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        include_log_monitor=False,
        **free_ports(),
    )


def drain(cluster: Cluster, node_id: str) -> None:
    """As `ray start --block` does when it gets SIGTERM."""
    reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    deadline_ms = int((time.time() + DRAIN_S) * 1000)
    ray._raylet.GcsClient(address=cluster.address).drain_node(node_id, reason, "test", deadline_ms)


def main() -> None:
    be_patient()
    cluster = Cluster()
    nodes = {"head": add(cluster)}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        answer = "done"
        if command == "add":
            nodes[name] = add(cluster)
            answer += f" {nodes[name].node_id}"
        elif command == "drain":
            drain(cluster, nodes[name].node_id)
        elif command == "end":
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print(answer, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
