"""Hosts on one machine: network namespaces, with cables to one switch.

    with hosts_on_a_switch("line", "node") as (line, node):
        with node.entered():
            server = socket.create_server((node.address, 0))
        with line.entered():
            socket.create_connection((node.address, server.getsockname()[1]))

Each host has an address and processes of its own; only the machine's clock, cores and disk are
shared. Making them needs root and Debian's iproute2.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.programs import program

_NAMESPACES = Path("/run/netns")
_NETWORK = "10.77.0"
_CLONE_NEWNET = 0x40000000
_BURST = "16kb"
_LONGEST_QUEUE = "2s"


class Host:
    """A network namespace and the cable to its switch."""

    def __init__(self, name: str, number: int, switch: str) -> None:
        self.name = name
        self.number = number
        self.address = f"{_NETWORK}.{number + 1}"
        self.namespace = _namespace(name)
        self.interface = f"port{number}"
        self._switch = switch
        self._socket = f"to{number}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and the threads and processes that it starts, be on this host."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            with (_NAMESPACES / self.namespace).open("rb") as inside:
                _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def lose_power(self) -> None:
        """Kill all programs of this host."""
        for pid in _ip("netns", "pids", self.namespace).split():
            if int(pid) != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def pull_the_cable(self) -> None:
        """Cut this host off: nobody is told, packets are lost."""
        _ip("-n", self._switch, "link", "set", self._socket, "down")

    def plug_the_cable(self) -> None:
        """Undo `pull_the_cable`."""
        _ip("-n", self._switch, "link", "set", self._socket, "up")

    def slow_down(self, rate: str) -> None:
        """Limit the cable to a rate such as "500kbit", in both directions."""
        for namespace, interface in self._ends:
            _tc(
                *("-n", namespace, "qdisc", "replace", "dev", interface, "root", "tbf"),
                *("rate", rate, "burst", _BURST, "latency", _LONGEST_QUEUE),
            )

    def speed_up(self) -> None:
        """Undo `slow_down`."""
        for namespace, interface in self._ends:
            _tc("-n", namespace, "qdisc", "delete", "dev", interface, "root")

    def add_default_route(self) -> None:
        """Have a way to everywhere, which leads nowhere: programs look for their address by it."""
        _ip("-n", self.namespace, "route", "add", "default", "dev", self.interface)

    def connect(self) -> None:
        """Make the namespace and its cable."""
        _ip("netns", "add", self.namespace)
        _ip(
            *("link", "add", self.interface, "netns", self.namespace, "type", "veth"),
            *("peer", "name", self._socket, "netns", self._switch),
        )
        _ip("-n", self._switch, "link", "set", self._socket, "master", "switch", "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", self.interface)
        for interface in ("lo", self.interface):
            _ip("-n", self.namespace, "link", "set", interface, "up")

    def remove(self) -> None:
        """Kill what runs, and remove the namespace, so far as it was made."""
        with suppress(subprocess.CalledProcessError):
            self.lose_power()
            _ip("netns", "delete", self.namespace)

    @property
    def _ends(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return (self.namespace, self.interface), (self._switch, self._socket)


@contextmanager
def hosts_on_a_switch(*names: str) -> Iterator[tuple[Host, ...]]:
    """Make hosts; skips without root, except in CI, which has it."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("needs root: only root may make network namespaces")
    switch = _namespace("switch")
    hosts = tuple(Host(name, number, switch) for number, name in enumerate(names))
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for host in hosts:
            host.connect()
        yield hosts
    finally:
        for host in hosts:
            host.remove()
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", switch)


def _namespace(name: str) -> str:
    return f"mambaad-{os.getpid()}-{name}"


def _enter(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "the namespace cannot be entered")


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _tc(*arguments: str) -> None:
    _run("tc", *arguments)


def _run(name: str, *arguments: str) -> str:
    done = subprocess.run([program(name), *arguments], check=True, capture_output=True, text=True)
    return done.stdout
