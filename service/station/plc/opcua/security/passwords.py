"""The file of users: a line has a name, a role, and the password's hash by scrypt.

set_user(Path("users"), "scada", Role.COMMAND, "secret")
await Passwords(Path("users")).verify("scada", "secret")  # Role.COMMAND
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from model.durable import write_durably

NAME = re.compile(r"[\w.@-]{1,64}")
SHORTEST_PASSWORD = 8
_LONGEST_PASSWORD_BYTES = 1_024
_COST, _BLOCK, _LANES = 2**14, 8, 1
_SALT_BYTES = 16
_HEAD = "# name role scrypt$cost$block$lanes$salt$hash: `mambaad station opcua-user` writes it\n"


class Role(StrEnum):
    """What a user may do; COMMAND includes READ."""

    READ = "read"
    COMMAND = "command"


class UsersUnusable(Exception):
    """The file of users cannot be read or has an error."""


@dataclass(frozen=True, slots=True)
class _User:
    role: Role
    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    def has(self, password: bytes) -> bool:
        return hmac.compare_digest(_hash(password, self), self.digest)

    def text(self, name: str) -> str:
        salt, digest = (base64.b64encode(value).decode() for value in (self.salt, self.digest))
        return f"{name} {self.role} scrypt${self.cost}${self.block}${self.lanes}${salt}${digest}\n"


class Passwords:
    """Checks passwords against the file, which is read anew each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = asyncio.Lock()

    async def verify(self, name: str, password: str) -> Role | None:
        """Return the user's role; None if name or password is wrong. Hashes in a thread."""
        content = password.encode()
        if len(content) > _LONGEST_PASSWORD_BYTES:
            return None
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._verify, name, content)

    def _verify(self, name: str, password: bytes) -> Role | None:
        try:
            user = read_users(self._path).get(name)
        except UsersUnusable:
            return None
        if user is None:
            _UNKNOWN.has(password)  # an unknown name takes as long as a wrong password
            return None
        return user.role if user.has(password) else None


def read_users(path: Path) -> dict[str, _User]:
    """Return the users by name. Raises `UsersUnusable`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsersUnusable(f"{path} cannot be read: {error}") from error
    users: dict[str, _User] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, user = _read_line(line)
        if user is None or name in users:
            raise UsersUnusable(
                f"{path}, line {number}: expected a new name, a role (read or command) and a hash; "
                "`mambaad station opcua-user` writes such lines"
            )
        users[name] = user
    return users


def _read_line(line: str) -> tuple[str, _User | None]:
    """Return a user's name, and None for a line with an error."""
    try:
        name, role, text = line.split()
        kind, cost, block, lanes, *values = text.split("$")
        salt, digest = (base64.b64decode(value, validate=True) for value in values)
        user = _User(Role(role), int(cost), int(block), int(lanes), salt, digest)
    except ValueError:
        return "", None
    return name, user if kind == "scrypt" else None


def set_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add a user, or replace one. Raises `UsersUnusable`, or `ValueError` for a bad value."""
    if not NAME.fullmatch(name):
        raise ValueError(f"expected a name of letters, digits and _ . @ -, got {name!r}")
    content = password.encode()
    if not len(password) >= SHORTEST_PASSWORD or len(content) > _LONGEST_PASSWORD_BYTES:
        raise ValueError(
            f"expected a password of {SHORTEST_PASSWORD} characters or more, got {len(password)}"
        )
    users = read_users(path) if path.exists() else {}
    users[name] = _new_user(role, content)
    text = _HEAD + "".join(user.text(name) for name, user in sorted(users.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text.encode(), mode=0o600)


def _new_user(role: Role, password: bytes) -> _User:
    blank = _User(role, _COST, _BLOCK, _LANES, secrets.token_bytes(_SALT_BYTES), b"")
    return _User(role, _COST, _BLOCK, _LANES, blank.salt, _hash(password, blank))


def _hash(password: bytes, user: _User) -> bytes:
    memory = 256 * user.cost * user.block
    return hashlib.scrypt(
        password, salt=user.salt, n=user.cost, r=user.block, p=user.lanes, maxmem=memory
    )


_UNKNOWN = _User(Role.READ, _COST, _BLOCK, _LANES, bytes(_SALT_BYTES), bytes(64))
