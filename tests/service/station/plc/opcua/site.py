"""A station with an OPC UA door in a thread, its certificates and users, and its clients."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from service.station.plc.opcua.security.certificates import make_identity, self_signed
from service.station.plc.opcua.security.passwords import Role, set_user
from tests.service.station.plant import Plant

PASSWORDS = {"scada": "line-three-commands", "panel": "only-looks-at-it"}
CLIENT_URI = "urn:example:scada"
SYSTEM = "ns=3;s=VisionSystem"
STATES = f"{SYSTEM}.VisionStateMachine"
AUTOMATIC = f"{STATES}.AutomaticModeStateMachine"
RECIPES = f"{SYSTEM}.RecipeManagement"
CONFIGURATIONS = f"{SYSTEM}.ConfigurationManagement"
RESULTS = f"{SYSTEM}.ResultManagement"


class Site:
    """`settings` are those of `plc.opcua`; `url` is the server's address while it runs."""

    def __init__(self, folder, service_url, image, **settings):
        self.folder = folder
        server, client = folder / "server", folder / "client"
        make_identity(server, "urn:example:station", ["localhost", "127.0.0.1"], 30)
        make_identity(client, CLIENT_URI, [], 30)
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        (self.trusted / "scada.der").write_bytes((client / "certificate.der").read_bytes())
        self.users = folder / "users"
        set_user(self.users, "scada", Role.COMMAND, PASSWORDS["scada"])
        set_user(self.users, "panel", Role.READ, PASSWORDS["panel"])
        opcua = {
            "port": 0,
            "certificate": server / "certificate.der",
            "key": server / "key.pem",
            "trusted": self.trusted,
            "users": self.users,
            **settings,
        }
        recipes = {
            1: {"name": "bolts", "categories": {"top": "bolt"}},
            2: {"name": "nuts", "categories": {"top": "nut"}},
            3: {"name": "nothing", "categories": {"top": "no-such-category"}},
        }
        self.plant = Plant(folder, service_url, image, plc={"opcua": opcua}, recipes=recipes)
        self.url = ""
        self.next_number = 1

    @contextmanager
    def running(self):
        """Run the station in a thread of its own."""
        opened, stop = threading.Event(), asyncio.Event()
        failures = []

        async def work():
            self.loop = asyncio.get_running_loop()
            async with self.plant.station() as station:
                self.station = station
                self.url = station.door.address
                opened.set()
                await stop.wait()

        def run():
            try:
                asyncio.run(work())
            except BaseException as failure:
                failures.append(failure)
            finally:
                opened.set()

        thread = threading.Thread(target=run)
        thread.start()
        opened.wait()
        try:
            if failures:
                raise failures[0]
            yield self
        finally:
            if not failures:
                self.loop.call_soon_threadsafe(stop.set)
            thread.join()
        assert not failures

    @asynccontextmanager
    async def client(self, user="scada", password=None, mode="SignAndEncrypt", **options):
        client = await self.secured(mode=mode, **options)
        client.set_user(user)
        client.set_password(PASSWORDS.get(user) if password is None else password)
        async with client:
            await client.load_data_type_definitions()
            yield client

    async def secured(self, folder="client", uri=CLIENT_URI, mode="SignAndEncrypt"):
        client = Client(self.url, timeout=30, watchdog_intervall=30)
        client.application_uri = uri
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            certificate=self.folder / folder / "certificate.der",
            private_key=self.folder / folder / "key.pem",
            server_certificate=self.folder / "server" / "certificate.der",
            mode=ua.MessageSecurityMode[mode],
        )
        return client

    def make_client(self, name, *, starts_in_days=0, days=30, uri=CLIENT_URI):
        """Make a client's certificate that may be out of date."""
        folder = self.folder / name
        folder.mkdir()
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        start = datetime.now(UTC) + timedelta(days=starts_in_days)
        certificate = self_signed(key, uri, [], start, timedelta(days=days))
        content = certificate.public_bytes(serialization.Encoding.DER)
        (folder / "certificate.der").write_bytes(content)
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return folder / "certificate.der"

    def expose(self, number):
        """Take the image of a part."""
        asyncio.run_coroutine_threadsafe(self.plant.expose(number), self.loop).result()

    def number(self):
        """Return a trigger number that no other part has."""
        self.next_number += 1
        return self.next_number


class Events:
    """Collects events."""

    def __init__(self):
        self.events = []
        self.came = asyncio.Event()

    def event_notification(self, event):
        self.events.append(event)
        self.came.set()

    async def until(self, wanted, seconds=30):
        """Return the first event that `wanted` accepts."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                self.came.clear()
                await self.came.wait()


async def subscribed(client, *types, node=SYSTEM):
    events = Events()
    subscription = await client.create_subscription(20, events)
    wanted = [client.get_node(ua.NodeId(number, 2)) for number in types]
    await subscription.subscribe_events(client.get_node(node), wanted or None)
    return events


async def call(client, path, *arguments):
    """Call a method by its node's id."""
    node = client.get_node(path)
    return await (await node.get_parent()).call_method(node, *arguments)


def error_of(outputs):
    """Return the output `Error`, which is the last one."""
    return outputs[-1] if isinstance(outputs, list | tuple) else outputs


def text(value):
    return ua.Variant(value, ua.VariantType.String)


def number32(value):
    return ua.Variant(value, ua.VariantType.UInt32)


def signed32(value):
    return ua.Variant(value, ua.VariantType.Int32)


NOTHING = ua.Variant(None, ua.VariantType.Null)
NO_PARAMETERS = ua.Variant([], ua.VariantType.Variant, is_array=True)
CAUSE = (signed32(0), text("a test"))


async def make_ready(client, recipe="1"):
    """Bring a station to the state Ready with a recipe, whatever its state is."""
    state = await client.get_node(f"{STATES}.CurrentState").read_value()
    if state.Text == "Error":
        await call(client, f"{STATES}.ConfirmAll", ua.LocalizedText("a test"))
    assert await call(client, f"{STATES}.Reset", *CAUSE) in (0, -1)
    assert await call(client, f"{STATES}.SelectModeAutomatic") == 0
    outputs = await prepare(client, recipe)
    assert outputs[1:] == [True, 0]


async def prepare(client, recipe):
    external = ua.RecipeIdExternalDataType(Id=recipe)
    return await call(client, f"{RECIPES}.PrepareRecipe", external, NOTHING)


async def start(client, part_id, number="", recipe=None):
    outputs = await call(
        client,
        f"{AUTOMATIC}.StartSingleJob",
        ua.MeasIdDataType(Id=str(number)),
        ua.PartIdDataType(Id=part_id),
        NOTHING if recipe is None else ua.RecipeIdExternalDataType(Id=recipe),
        ua.ProductIdDataType(Id="product-1"),
        NO_PARAMETERS,
    )
    return outputs[0].Id, outputs[1]
