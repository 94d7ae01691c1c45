"""Ray for a busy machine: patient and quiet.

On a busy machine Ray's agents start too slowly for the node, whose patience cannot be set. So the
node gets their ports chosen beforehand, as files where it waits for the agents to write them.
"""

import os
import socket
from pathlib import Path

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USE_UVLOOP": "0",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_worker_niceness": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
}

import ray._private.services as services

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


def _start_patiently(*args, **options):
    # By position: `node_id` is the third, `session_dir` the twelfth.
    node_id, session_dir = args[2], Path(args[11])
    for name in _PORTS:
        # Without the packages for its dashboard, Ray has no agent behind the other ports.
        port = options[name] if name == "runtime_env_agent_port" else -1
        (session_dir / f"{name}_{node_id}").write_text(str(port), "ascii")
    return _start_raylet(*args, **options)


def be_patient() -> None:
    """Let nodes that this process starts wait for their agents."""
    services.start_raylet = _start_patiently
