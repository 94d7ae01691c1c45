"""asyncua's server, made from the station's settings."""

from asyncua import Server, ua

from service.station.plc.door import DoorClosed
from service.station.plc.opcua.connections import Guard, GuardedServer, Listener
from service.station.plc.opcua.security.access import StationRuleset
from service.station.plc.opcua.security.certificates import (
    CertificateUnusable,
    Identity,
    Trust,
    default_uri,
    read_identity,
)
from service.station.plc.opcua.security.passwords import Passwords, UsersUnusable, read_users
from service.station.settings.opcua import OpcUaSettings

_SECURE = (
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
)
_PRODUCT = "urn:mambaad:station"


class StationServer(Server):
    """A server whose connections and sessions are guarded."""

    def __init__(self, guard: Guard) -> None:
        self.guarded = GuardedServer(guard.settings)
        super().__init__(iserver=self.guarded)
        self.guard = guard

    async def start(self) -> None:
        """Listen. Raises `OSError`."""
        await self._setup_server_nodes()
        await self.iserver.start()
        listener = Listener(self.guarded, self.guard, self.limits)
        listener.set_policies(self._policies)
        try:
            await listener.start()
        except OSError:
            await self.iserver.stop()
            raise
        self.bserver = listener

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self.bserver.port if self.bserver else self.guard.settings.port

    @property
    def clients(self) -> int:
        """The number of connections."""
        return len(self.bserver.clients) if self.bserver else 0


def read_guard(settings: OpcUaSettings) -> tuple[Guard, Identity | None]:
    """Return who may connect, and the server's certificate. Raises `DoorClosed`."""
    trust = Trust(settings.trusted) if settings.trusted else None
    passwords = None
    identity = None
    try:
        if settings.certificate is not None and settings.key is not None:
            identity = read_identity(settings.certificate, settings.key)
        if settings.users is not None:
            read_users(settings.users)
            passwords = Passwords(settings.users)
    except (CertificateUnusable, UsersUnusable) as error:
        raise DoorClosed(str(error)) from error
    return Guard(settings, trust, passwords), identity


async def make_server(guard: Guard, identity: Identity | None, name: str) -> StationServer:
    """Return a server with the standard address space, which does not listen yet."""
    settings = guard.settings
    server = StationServer(guard)
    server.name = name
    server.manufacturer_name = "mambaad-service"
    server.product_uri = _PRODUCT
    server.application_type = ua.ApplicationType.Server
    await server.init()
    await server.set_application_uri(identity.application_uri if identity else default_uri())
    server.set_endpoint(f"opc.tcp://{settings.host}:{settings.port}/station")
    policies: list[ua.SecurityPolicyType] = []
    if identity is not None:
        server.guarded.certificate, server.guarded.private_key = identity.certificate, identity.key
        policies += _SECURE
    if settings.no_security:
        policies.append(ua.SecurityPolicyType.NoSecurity)
    server.set_security_policy(policies, permission_ruleset=StationRuleset())
    tokens: list[type] = []
    if settings.users is not None:
        tokens.append(ua.UserNameIdentityToken)
    if settings.anonymous is not None:
        tokens.append(ua.AnonymousIdentityToken)
    server.set_identity_tokens(tokens)
    return server
