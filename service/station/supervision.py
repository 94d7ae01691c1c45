"""Tells systemd that the station is ready, that its loop still turns, and that it stops.

supervisor = Supervisor()       # does nothing unless systemd asks for it: Type=notify
supervisor.notify("READY=1")
await supervisor.run()          # WATCHDOG=1, if the unit has WatchdogSec
"""

import asyncio
import logging
import socket

from service.settings.environment import variable

logger = logging.getLogger("service.supervision")

_FIRST_OF_ABSTRACT = "@"


class Supervisor:
    """Sends notes to the socket in NOTIFY_SOCKET, as sd_notify(3) does."""

    def __init__(self) -> None:
        self._address = variable("NOTIFY_SOCKET")
        text = variable("WATCHDOG_USEC") or ""
        self._watchdog_s = int(text) / 1e6 if text.isdecimal() else 0.0

    def notify(self, note: str) -> None:
        """Send a note, such as READY=1; log if systemd cannot take it."""
        if not self._address:
            return
        address = self._address
        if address.startswith(_FIRST_OF_ABSTRACT):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(note.encode(), address)
        except OSError as error:
            logger.warning("systemd did not take %s: %s", note, error)

    async def run(self) -> None:
        """Send WATCHDOG=1 twice in each of the watchdog's periods, until it is cancelled."""
        while self._watchdog_s:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)
