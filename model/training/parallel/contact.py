"""Notices when another process of a training ends, or its host cannot be reached.

A collective operation waits for every process, and gloo and NCCL notice the loss of a host only
after their time limit, which must be long: at the end the others wait for the first process. So
each process keeps a connection to the first one. It closes when a process ends, and the kernel's
keep-alive probes find a host without power or network within `LOST_AFTER_S`.

    with contact(store, rank, size) as lost:
        ...                  # collective operations
        lost.reason          # why the training cannot go on, or None

A process whose operation still waits `GRACE_S` after that is ended, with a line on stderr.
"""

import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

from model.errors import ProcessLost

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore  # `torch.distributed` has it without a type

LOST_AFTER_S = 20
"""How long a host may be unreachable."""

GRACE_S = 5.0
"""How long a process may take to end by itself after another one was lost."""

_JOIN = timedelta(minutes=10)
_IDLE_S, _INTERVAL_S, _PROBES = 5, 5, 3
_MAX_TEXT = 1000
_MAX_LINE = 8192  # JSON writes up to six bytes for a character
_EXIT_CODE = 2
"""As for every error that the command line prints."""
_AGAIN = "start the command again with --resume on every host"


class Loss:
    """Whether another process was lost, and why."""

    def __init__(self) -> None:
        self._known = threading.Event()
        self._reason = ""

    @property
    def reason(self) -> str | None:
        """Why the training cannot go on; None while all processes can be reached."""
        return self._reason if self._known.is_set() else None

    def declare(self, reason: str) -> None:
        """Note the first loss; others follow from it."""
        if not self._known.is_set():
            self._reason = reason
            self._known.set()

    def wait(self, timeout_s: float) -> str | None:
        """Wait until a loss is noticed; return its reason, or None after the time."""
        self._known.wait(timeout_s)
        return self.reason


class _Connections:
    """The connections of this process: to the first process, or of the first to all others."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._peers: dict[int, socket.socket] = {}
        self._left: set[int] = set()
        self._closing = False
        self._lock = threading.Lock()

    def add(self, rank: int, peer: socket.socket, lines: BinaryIO) -> None:
        """Watch a connection to the process with this number, whose messages are `lines`."""
        _keep_alive(peer)
        with self._lock:
            self._peers[rank] = peer
            if reason := self._loss.reason:
                _send(peer, {"lost": reason})
        name = f"process {rank} on {peer.getpeername()[0].removeprefix('::ffff:')}"
        threading.Thread(
            target=self._watch, args=(name, lines), name=f"contact-{rank}", daemon=True
        ).start()

    def tell(self, message: dict[str, str]) -> None:
        """Send a message to all; those who cannot be reached are lost anyway."""
        for peer in list(self._peers.values()):
            _send(peer, message)

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            self._closing = True
        for peer in self._peers.values():
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    def _watch(self, name: str, lines: BinaryIO) -> None:
        """Read the other process's last message; without one it was lost."""
        try:
            with lines:
                message = _message(lines.readline(_MAX_LINE))
            reason = f"{name} has ended"
        except OSError as error:
            message, reason = {}, f"{name} cannot be reached ({error.strerror or error})"
        reason = message.get("lost") or (
            f"{name} ended: {message['failed']}" if "failed" in message else f"{reason}: {_AGAIN}"
        )
        with self._lock:
            if self._closing or "left" in message:
                return
            self.tell({"lost": reason})  # first, because then this process ends
            self._loss.declare(reason)
        self._end_after_grace(reason)

    def _end_after_grace(self, reason: str) -> None:
        """End this process if its main thread, which a lost process may block, does not."""
        timer = threading.Timer(GRACE_S, self._end, [reason])
        timer.daemon = True
        timer.start()

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._closing:
                return
        print(f"mambaad: {reason}", file=sys.stderr, flush=True)
        os._exit(_EXIT_CODE)


@contextmanager
def contact(store: "TCPStore", rank: int, size: int) -> Iterator[Loss]:
    """Keep in contact with all processes; tell them why this one ends, if by an error.

    `store` is the one of the rendezvous. Raises `ProcessLost` instead of the error that the loss of
    another process caused, and if not all processes come within ten minutes.
    """
    loss = Loss()
    connections = _Connections(loss)
    try:
        if rank == 0:
            _accept(store, size, connections)
        else:
            _connect(store, rank, connections)
        yield loss
    except Exception as error:
        # What fails because of a lost process fails at once; its connection closes as soon.
        failed = isinstance(error, RuntimeError) or isinstance(error.__cause__, RuntimeError)
        if failed and (reason := loss.wait(GRACE_S / 2)):
            raise ProcessLost(reason) from error
        connections.tell({"failed": str(error) or type(error).__name__})
        raise
    except BaseException:
        connections.tell({"failed": "it was interrupted"})
        raise
    else:
        connections.tell({"left": ""})
    finally:
        connections.close()


def _accept(store: "TCPStore", size: int, connections: _Connections) -> None:
    """Let all other processes connect to this one; strangers are turned away."""
    token = secrets.token_hex(16)
    with _listen() as server:
        server.settimeout(_JOIN.total_seconds())
        address, port = _address_on_the_way_to(store), server.getsockname()[1]
        store.set("contact", json.dumps([address, port, token]))
        missing = set(range(1, size))
        while missing:
            try:
                peer, _ = server.accept()
            except TimeoutError as error:
                raise ProcessLost(f"the processes {sorted(missing)} did not connect") from error
            lines = peer.makefile("rb")  # one for all: a second message may come with the first
            hello = _greeting(peer, lines)
            if hello.get("token") != token or int(hello["rank"]) not in missing:
                lines.close()
                peer.close()
                continue
            connections.add(int(hello["rank"]), peer, lines)
            missing.remove(int(hello["rank"]))


def _greeting(peer: socket.socket, lines: BinaryIO) -> dict[str, str]:
    """Return who connects; nothing from a stranger."""
    try:
        peer.settimeout(10)
        greeting = _message(lines.readline(_MAX_LINE))
        peer.settimeout(None)
    except OSError:
        return {}
    return greeting


def _connect(store: "TCPStore", rank: int, connections: _Connections) -> None:
    """Connect to the first process."""
    store.set_timeout(_JOIN)
    address, port, token = json.loads(store.get("contact"))
    try:
        peer = socket.create_connection((address, port), timeout=30)
    except OSError as error:
        raise ProcessLost(
            f"process 0 cannot be reached on {address}, port {port} ({error}): the hosts of a "
            "training connect to each other on ports that the system chooses, so let a firewall "
            "between them pass these"
        ) from error
    peer.settimeout(None)
    peer.sendall(json.dumps({"rank": str(rank), "token": token}).encode() + b"\n")
    connections.add(0, peer, peer.makefile("rb"))


def _listen() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _address_on_the_way_to(store: "TCPStore") -> str:
    """Return this host's address that others reach; by its own name a host finds its loopback."""
    place = socket.getaddrinfo(store.host, store.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(place[0], socket.SOCK_DGRAM) as probe:
        probe.connect(place[4])  # sends nothing, and chooses the way
        address = str(probe.getsockname()[0])
    is_loopback = address.startswith("127.") or address == "::1"
    return store.host if is_loopback else address


def _keep_alive(peer: socket.socket) -> None:
    """Let the kernel find out within `LOST_AFTER_S` that the other host cannot be reached."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * LOST_AFTER_S)


def _send(peer: socket.socket, message: dict[str, str]) -> None:
    """Send a message; if the peer cannot be reached, its connection tells that as well."""
    with suppress(OSError):
        peer.sendall(json.dumps({k: v[:_MAX_TEXT] for k, v in message.items()}).encode() + b"\n")


def _message(line: bytes) -> dict[str, str]:
    """Return a line's message; what cannot be read says nothing."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
