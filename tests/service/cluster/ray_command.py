"""Ray's program on a busy machine: `python -m tests.service.cluster.ray_command start ...`."""

import sys

from tests.service.cluster.patience import be_patient, free_ports


def main() -> None:
    be_patient()
    if sys.argv[1] == "start":
        ports = free_ports()
        ports["dashboard_agent_grpc_port"] = ports.pop("metrics_agent_port")
        sys.argv += [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
    from ray.scripts.scripts import main as ray  # noqa: PLC0415 - after the lines above

    sys.argv[0] = "ray"
    ray()


if __name__ == "__main__":
    main()
