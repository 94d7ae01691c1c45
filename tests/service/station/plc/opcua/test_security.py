"""Who may connect, read and command."""

import asyncio
import shutil

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from tests.service.station.plc.opcua.site import (
    CAUSE,
    PASSWORDS,
    RESULTS,
    STATES,
    SYSTEM,
    Events,
    call,
    make_ready,
    signed32,
)


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
def test_a_trusted_client_with_a_password_may_command(run, mode):
    async def scenario(client):
        await make_ready(client)

    run(scenario, mode=mode)


def test_a_reader_may_read_and_not_command(run):
    async def scenario(client):
        assert (await client.get_node(f"{STATES}.CurrentState").read_value()).Text
        unknown = ua.ResultIdDataType(Id="x")
        assert (await call(client, f"{RESULTS}.GetResultById", unknown, signed32(0)))[2] == -5
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await call(client, f"{STATES}.Halt", *CAUSE)
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.nodes.objects.add_object(3, "a new node")
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.delete_nodes([client.get_node(SYSTEM)])

    run(scenario, user="panel")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("scada", "wrong"),
        ("scada", ""),
        ("nobody", PASSWORDS["scada"]),
        ("", ""),
        ("scada", "ü" * 9),
    ],
)
def test_a_wrong_name_or_password_is_refused(site, user, password):
    async def work():
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            async with site.client(user, password):
                pass

    asyncio.run(work())


def test_nobody_connects_without_a_user_or_without_security(site):
    async def work():
        secured = await site.secured()
        with pytest.raises((ua.uaerrors.BadIdentityTokenRejected, ua.UaError)):
            async with secured:
                pass
        plain = Client(site.url)
        plain.set_user("scada")
        plain.set_password(PASSWORDS["scada"])
        with pytest.raises(ua.UaError):
            await plain.connect()
        endpoints = await Client(site.url).connect_and_get_server_endpoints()
        assert {endpoint.SecurityPolicyUri for endpoint in endpoints} == {
            SecurityPolicyBasic256Sha256.URI
        }

    asyncio.run(work())


def test_an_untrusted_client_is_refused_and_trusted_by_moving_its_certificate(site, run, caplog):
    site.make_client("stranger", uri="urn:example:stranger")
    options = {"folder": "stranger", "uri": "urn:example:stranger"}

    async def refused():
        with pytest.raises(ua.uaerrors.BadCertificateUntrusted):
            async with site.client(**options):
                pass

    async def scenario(client):
        assert await client.get_node("ns=3;s=Station.Online").read_value()

    asyncio.run(refused())
    (record,) = [r for r in caplog.records if "urn:example:stranger" in r.getMessage()]
    (path,) = (site.trusted / "refused").iterdir()
    assert f"to trust it, move {path} to {site.trusted}" in record.getMessage()
    path.rename(site.trusted / "stranger.der")
    run(scenario, **options)
    (site.trusted / "stranger.der").unlink()
    asyncio.run(refused())
    shutil.rmtree(site.trusted / "refused")


@pytest.mark.parametrize(
    ("name", "starts_in_days", "days", "status", "words"),
    [
        ("expired", -20, 10, ua.uaerrors.BadCertificateTimeInvalid, "expired on"),
        ("early", 5, 10, ua.uaerrors.BadCertificateTimeInvalid, "is not valid before"),
    ],
)
def test_a_certificate_that_is_out_of_date_is_refused(
    site, caplog, name, starts_in_days, days, status, words
):
    certificate = site.make_client(name, starts_in_days=starts_in_days, days=days)
    shutil.copy(certificate, site.trusted / f"{name}.der")

    async def work():
        with pytest.raises(status):
            async with site.client(folder=name):
                pass

    asyncio.run(work())
    assert any(words in record.getMessage() for record in caplog.records)


def test_a_certificate_of_another_application_is_refused(site):
    async def work():
        with pytest.raises(ua.uaerrors.BadCertificateUriInvalid):
            async with site.client(uri="urn:example:other"):
                pass

    asyncio.run(work())


def test_a_certificate_that_is_only_left_out_of_the_request_is_checked(site):
    """The channel's certificate counts, not the one that the request states."""
    site.make_client("hidden")

    async def work():
        client = await site.secured("hidden")
        client.set_user("scada")
        client.set_password(PASSWORDS["scada"])
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        ask = client.uaclient.create_session

        async def without_certificate(parameters):
            parameters.ClientCertificate = None
            return await ask(parameters)

        client.uaclient.create_session = without_certificate
        with pytest.raises(ua.uaerrors.BadCertificateUntrusted):
            await client.create_session()
        client.disconnect_socket()

    asyncio.run(work())
    shutil.rmtree(site.trusted / "refused")


def test_a_connection_cannot_take_over_the_session_of_another(site, run):
    """asyncua alone would bind the session to the new connection, then check its user."""

    async def scenario(client):
        site.make_client("thief")
        thief = await site.secured("thief")
        await thief.connect_socket()
        await thief.send_hello()
        await thief.open_secure_channel()
        protocol = thief.uaclient.protocol
        protocol.authentication_token = client.uaclient.session.authentication_token
        with pytest.raises(ua.uaerrors.BadSessionIdInvalid):
            await protocol.send_request(ua.ActivateSessionRequest())
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await protocol.send_request(ua.ReadRequest())
        thief.disconnect_socket()
        assert await client.get_node("ns=3;s=Station.Online").read_value()

    run(scenario)


def test_a_client_cannot_end_or_take_the_subscription_of_another(site, run):
    async def scenario(client):
        subscription = await client.create_subscription(20, Events())
        number = subscription.subscription_id
        async with site.client("panel") as other:
            with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
                await other.uaclient.delete_subscriptions([number])
            parameters = ua.TransferSubscriptionsParameters(SubscriptionIds=[number])
            with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
                await other.uaclient.transfer_subscriptions(parameters)
        await subscription.delete()

    run(scenario)
