"""Ray on hosts of their own, started again whenever it ends, as systemd does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import MappingProxyType

from tests.hosts import Host

ROOT = Path(__file__).parents[3]
_PORT = 6379
_RESTART_S = 1.0

HURRY = MappingProxyType(
    {
        # A lost node is noticed after some 10 s, and a lost head after 15, instead of a minute.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "3000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "60",
    }
)
"""Variables for Ray and for the services that use it."""


class RayHost:
    """A Ray node of one core; the first host's is the head."""

    def __init__(self, host: Host, head: Host, folder: Path) -> None:
        self.host = host
        paths = f"{Path(__file__).with_name('own_host')}:{ROOT}"
        self.variables = HURRY | {"RAY_TMPDIR": str(folder), "PYTHONPATH": paths}
        self.address = f"{head.address}:{_PORT}"
        self._log = folder / "ray.log"
        of_head = ["--head", f"--port={_PORT}", "--include-dashboard=false", "--no-monitor"]
        place = of_head if host is head else [f"--address={self.address}"]
        self._options = [
            *place,
            f"--node-ip-address={host.address}",
            *("--num-cpus=1", "--object-store-memory=100000000", f"--temp-dir={folder}/ray"),
            *("--include-log-monitor=false", "--block"),
        ]
        self._is_on = False
        self._keeping: threading.Thread | None = None
        self._program: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Keep Ray running; does not wait for it."""
        self._is_on = True
        self._keeping = threading.Thread(target=self._keep)
        self._keeping.start()

    def restart(self) -> None:
        """Have Ray drain its node, end and start again, as `systemctl restart` does."""
        assert self._program is not None
        self._program.send_signal(signal.SIGTERM)

    def switch_off(self) -> None:
        """Kill all programs of the host, Ray and others, and keep Ray no longer."""
        self._is_on = False
        self.host.lose_power()
        if self._keeping is not None:
            self._keeping.join()

    def _keep(self) -> None:
        command = [sys.executable, "-m", "tests.service.cluster.ray_command", "start"]
        with self.host.entered(), self._log.open("ab") as log:
            while self._is_on:
                self._program = subprocess.Popen(
                    [*command, *self._options],
                    cwd=ROOT,
                    env={**os.environ, **self.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                self._program.wait()
                time.sleep(_RESTART_S)
