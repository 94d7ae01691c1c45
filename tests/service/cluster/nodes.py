"""Ray nodes on this machine, in a program of its own: `python -m tests.service.cluster.nodes`.

All files are in the folder of the variable RAY_TMPDIR.
It prints the cluster's address, then obeys a line each: "add NAME", "end NAME" (kills all of the
node's processes), and the end of its input. After each it prints "done".

On a busy machine Ray's agents start too slowly for the node, whose patience cannot be set. So the
node gets their ports chosen beforehand, as files where it waits for the agents to write them.
"""

import os
import socket
import sys
from pathlib import Path

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USE_UVLOOP": "0",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_worker_niceness": "0",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
}

import ray._private.services as services
from ray.cluster_utils import Cluster

_start_raylet = services.start_raylet
_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)


def free_ports() -> dict[str, int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return dict(zip(_PORTS, ports, strict=True))


def start_raylet(*args, **options):
    # By position: `node_id` is the third, `session_dir` the twelfth.
    node_id, session_dir = args[2], Path(args[11])
    for name in _PORTS:
        # Without the packages for its dashboard, Ray has no agent behind the other ports.
        port = options[name] if name == "runtime_env_agent_port" else -1
        (session_dir / f"{name}_{node_id}").write_text(str(port), "ascii")
    return _start_raylet(*args, **options)


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


def main() -> None:
    services.start_raylet = start_raylet
    cluster = Cluster()
    nodes = {"head": add(cluster)}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        if command == "add":
            nodes[name] = add(cluster)
        elif command == "end":
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
