"""Who a client is, and what it may do."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.crypto.permission_rules import USER_TYPES, PermissionRuleset, User, UserRole
from asyncua.server.user_managers import UserManager

from service.station.plc.opcua.security.passwords import Role

_SERVICES = frozenset(
    ua.NodeId(number)
    for number in USER_TYPES
    if number != ua.ObjectIds.HistoryReadRequest_Encoding_DefaultBinary
)


@dataclass
class StationUser(User):
    """A user whose name, password and certificate were checked."""

    may_command: bool = False


_CALLER: ContextVar[StationUser | None] = ContextVar("caller", default=None)
_NOTED: ContextVar[StationUser | None] = ContextVar("noted", default=None)


def caller() -> StationUser | None:
    """Return the user whose request is being answered."""
    return _CALLER.get()


class StationRuleset(PermissionRuleset):
    """Lets checked users read and call; methods ask `caller` whether they may command.

    No variable can be written, and no user may change nodes.
    """

    def check_validity(self, user: User, action_type_id: ua.NodeId, body: Any) -> bool:  # noqa: ANN401
        """Return whether a user may use a service, and note the user for its methods."""
        _CALLER.set(user if isinstance(user, StationUser) else None)
        return isinstance(user, StationUser) and action_type_id in _SERVICES


class CheckedUsers(UserManager):
    """Returns the user whom `note` has named for this activation, else nobody.

    Passwords are hashed in a thread before asyncua, which cannot wait, asks for the user.
    """

    def note(self, user: StationUser | None) -> None:
        """Name the user of the activation that this task handles next."""
        _NOTED.set(user)

    def get_user(
        self,
        iserver: Any,  # noqa: ANN401
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,  # noqa: ANN401
    ) -> User | None:
        """Return the noted user, once; None refuses the session."""
        user = _NOTED.get()
        _NOTED.set(None)
        return user if user is not None and user.name == username else None


def user_of(name: str | None, role: Role | None) -> StationUser | None:
    """Return a user for a role; None for no role."""
    if role is None:
        return None
    return StationUser(role=UserRole.User, name=name, may_command=role is Role.COMMAND)
