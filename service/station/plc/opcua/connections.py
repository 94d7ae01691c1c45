"""What listens: connections that are limited, and sessions whose client was checked.

These are asyncua's classes with rules of their own. asyncua asks for a user without waiting, takes
any certificate in a secure channel, and lets a new connection take over a session before it has
checked the user; here a session is created and activated only by the connection that it belongs
to, after its channel's certificate and its user were checked.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, NoReturn

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server import binary_server_asyncio, uaprocessor
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary

from service.station.plc.opcua.security.access import CheckedUsers, user_of
from service.station.plc.opcua.security.certificates import (
    CertificateRefused,
    Trust,
    first_certificate,
)
from service.station.plc.opcua.security.passwords import Passwords, Role
from service.station.settings.base import allows
from service.station.settings.opcua import OpcUaSettings

logger = logging.getLogger("service.opcua")

_CREATE_SESSION = ua.NodeId(ua.ObjectIds.CreateSessionRequest_Encoding_DefaultBinary)
_ACTIVATE_SESSION = ua.NodeId(ua.ObjectIds.ActivateSessionRequest_Encoding_DefaultBinary)
_ABOUT_SUBSCRIPTIONS: dict[Any, Any] = {
    ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary")): (
        getattr(ua, f"{name}Parameters")
    )
    for name in (
        "CreateMonitoredItems",
        "DeleteMonitoredItems",
        "DeleteSubscriptions",
        "ModifyMonitoredItems",
        "ModifySubscription",
        "Republish",
        "SetMonitoringMode",
        "SetPublishingMode",
        "TransferSubscriptions",
    )
}
"""Services that name subscriptions, with their parameters."""
_MOST_MESSAGE_BYTES = 2**20
_WRONG_PASSWORD_S = 1.0
_ACTIVATION_S = 10.0
_LONGEST_SESSION_MS = 60_000.0


@dataclass(frozen=True)
class Guard:
    """Decides who may open a session."""

    settings: OpcUaSettings
    trust: Trust | None
    passwords: Passwords | None

    def check_channel(self, certificate: bytes | None, application_uri: str) -> None:
        """Return if a session may use the channel. Raises `CertificateRefused`."""
        if certificate is not None and self.trust is not None:
            self.trust.check(certificate, application_uri)
        elif not self.settings.no_security:
            raise CertificateRefused(
                ua.StatusCodes.BadSecurityModeRejected,
                f"{application_uri} has no certificate; use Basic256Sha256",
            )

    async def role_of(self, name: str | None, password: str) -> Role | None:
        """Return the role of a user, or of nobody in particular; None refuses the session."""
        if name is None:
            return Role(self.settings.anonymous) if self.settings.anonymous else None
        if self.passwords is None:
            return None
        return await self.passwords.verify(name, password)


class GuardedServer(InternalServer):
    """Limits what clients can occupy."""

    def __init__(self, settings: OpcUaSettings) -> None:
        self.checked_users = CheckedUsers()
        super().__init__(user_manager=self.checked_users)
        self.allow_remote_admin = False
        self.max_session_timeout_ms = _LONGEST_SESSION_MS
        self.max_connections = settings.max_clients
        self.max_subscriptions = 4 * settings.max_clients
        self.max_pending_activation_seconds = _ACTIVATION_S
        self.max_unacked_messages_per_subscription = 500
        self.max_monitored_item_queue_size = 1_000

    def lookup_external_session(self, auth_token: ua.NodeId) -> None:
        """Return None: a session ends with its connection."""
        return

    def register_server(self, server: Any, conf: Any = None) -> NoReturn:  # noqa: ANN401
        """Refuse: the station is no discovery server."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


class Listener(BinaryServer):
    """Accepts connections."""

    def __init__(self, server: GuardedServer, guard: Guard, limits: Any) -> None:  # noqa: ANN401
        for module in (binary_server_asyncio, uaprocessor):
            # They print a traceback for each wrong message; refused clients have lines here.
            module._logger.setLevel(logging.CRITICAL)
        super().__init__(server, guard.settings.host, guard.settings.port, limits)
        self._guard = guard

    def _make_protocol(self) -> "Connection":
        return Connection(self._guard, self)


class Connection(OPCUAProtocol):
    """Refuses clients of other networks, and messages that are too long."""

    def __init__(self, guard: Guard, listener: Listener) -> None:
        self.processor: Any
        self._buffer: bytes
        super().__init__(
            listener.iserver,
            listener._policies,
            listener.clients,
            listener.closing_tasks,
            listener.limits,
        )
        self._guard = guard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept or refuse a client."""
        host = transport.get_extra_info("peername")[0]
        if not allows(self._guard.settings.allow, host):
            logger.warning("refused an OPC UA client at %s: plc.opcua.allow has no such", host)
            transport.close()
            return
        super().connection_made(transport)
        if self.processor is not None and self.transport is not None:
            processor = Processor(self.iserver, self.transport, self.limits)
            processor.guard = self._guard
            processor.set_policies(self.policies)
            self.processor = processor

    def data_received(self, data: bytes) -> None:
        """Take bytes; close a connection that sends a message without end."""
        if self.transport is None or self.transport.is_closing():
            return
        super().data_received(data)
        if len(self._buffer) > _MOST_MESSAGE_BYTES:
            logger.warning("closed an OPC UA connection from %s: no valid message", self.peer_name)
            self._buffer = b""
            self.transport.close()


class Processor(UaProcessor):
    """Answers requests; checks certificate and user before a session counts."""

    guard: Guard
    _application_uri = ""

    def _should_close_session_on_transport_loss(self) -> bool:
        return True

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> bool:  # noqa: ANN401
        if typeid == _CREATE_SESSION:
            parameters = struct_from_binary(ua.CreateSessionParameters, body.copy())
            await self._begin_session(parameters)
        elif typeid == _ACTIVATE_SESSION:
            parameters = struct_from_binary(ua.ActivateSessionParameters, body.copy())
            await self._check_user(parameters.UserIdentityToken)
        elif typeid in _ABOUT_SUBSCRIPTIONS:
            self._check_subscriptions(struct_from_binary(_ABOUT_SUBSCRIPTIONS[typeid], body.copy()))
        done: bool = await super()._process_message(typeid, requesthdr, seqhdr, body)
        return done

    async def _begin_session(self, parameters: ua.CreateSessionParameters) -> None:
        if self.session is not None:
            await self.session.close_session()
        self._application_uri = parameters.ClientDescription.ApplicationUri or ""
        channel, stated = self._channel_certificate(), parameters.ClientCertificate
        if channel is not None and stated and first_certificate(stated) != channel:
            raise ServiceError(ua.StatusCodes.BadCertificateInvalid)
        await self._check_channel()

    def _check_subscriptions(self, parameters: Any) -> None:  # noqa: ANN401
        """Refuse subscriptions of other sessions; asyncua would change them."""
        ids = getattr(parameters, "SubscriptionIds", None) or [
            getattr(parameters, "SubscriptionId", 0)
        ]
        subscriptions = self.iserver.subscription_service.subscriptions
        for number in ids:
            subscription = subscriptions.get(number)
            owner = subscription.session_id if subscription else None
            if owner is not None and (self.session is None or owner != self.session.session_id):
                raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)

    async def _check_channel(self) -> None:
        try:
            await asyncio.to_thread(
                self.guard.check_channel, self._channel_certificate(), self._application_uri
            )
        except CertificateRefused as refused:
            logger.warning("refused an OPC UA client at %s: %s", self.name[0], refused)
            raise ServiceError(refused.status) from refused

    def _channel_certificate(self) -> bytes | None:
        certificate = self._connection.security_policy.peer_certificate
        return first_certificate(certificate) if certificate else None

    async def _check_user(self, token: Any) -> None:  # noqa: ANN401
        """Check the user of the session, and name it for asyncua. Raises `ServiceError`."""
        users = self.iserver.user_manager
        assert isinstance(users, CheckedUsers)
        users.note(None)
        if self.session is None:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        await self._check_channel()
        name, password = None, ""
        if isinstance(token, ua.UserNameIdentityToken):
            try:
                name, password = self.iserver.decrypt_user_token(self.session, token)
            except (ValueError, TypeError, AttributeError) as error:
                raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid) from error
        elif isinstance(token, ua.X509IdentityToken | ua.IssuedIdentityToken):
            raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected)
        role = await self.guard.role_of(name, password or "")
        if role is None:
            logger.warning("refused the OPC UA user %r at %s", name or "anonymous", self.name[0])
            await asyncio.sleep(_WRONG_PASSWORD_S)
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        users.note(user_of(name, role))
