"""The commands that make certificates and users, and the files that they write."""

import asyncio

import pytest
from typer.testing import CliRunner

from service.cli.station import commands
from service.station.plc.door import DoorClosed
from service.station.plc.opcua.security.certificates import read_identity
from service.station.plc.opcua.security.passwords import Passwords, Role, UsersUnusable, read_users
from service.station.plc.opcua.server import read_guard
from service.station.settings import OpcUaSettings


def command(*arguments, typed=None):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments], input=typed)


def test_a_certificate_has_the_uri_and_the_hosts_and_is_never_overwritten(tmp_path):
    folder = tmp_path / "station"
    done = command(
        "opcua-certificate",
        folder,
        "--uri",
        "urn:a:station",
        "--host",
        "el-3",
        "--host",
        "10.0.0.7",
    )
    assert done.exit_code == 0, done.output
    identity = read_identity(folder / "certificate.der", folder / "key.pem")
    assert identity.application_uri == "urn:a:station"
    assert identity.key.key_size == 2048
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    key = (folder / "key.pem").read_bytes()
    again = command("opcua-certificate", folder)
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert (folder / "key.pem").read_bytes() == key


def test_a_user_is_added_changed_and_only_hashed(tmp_path):
    users = tmp_path / "users"
    password = "a long password"
    typed = f"{password}\n{password}\n"
    assert command("opcua-user", users, "scada", "--role", "command", typed=typed).exit_code == 0
    assert command("opcua-user", users, "panel", "--password", "another one").exit_code == 0
    text = users.read_text("utf-8")
    assert password not in text
    assert users.stat().st_mode & 0o077 == 0
    assert {name: user.role for name, user in read_users(users).items()} == {
        "panel": Role.READ,
        "scada": Role.COMMAND,
    }

    async def verify(*pair):
        return await Passwords(users).verify(*pair)

    assert asyncio.run(verify("scada", password)) is Role.COMMAND
    assert asyncio.run(verify("scada", "another one")) is None
    assert command("opcua-user", users, "scada", "--password", "a new password").exit_code == 0
    assert asyncio.run(verify("scada", password)) is None
    assert asyncio.run(verify("scada", "a new password")) is Role.READ


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scada", "--password", "short"), "8 characters"),
        (("two words", "--password", "long enough"), "expected a name"),
        (("scada", "--role", "admin", "--password", "long enough"), "expected the role"),
    ],
)
def test_a_user_that_cannot_be_is_refused(tmp_path, arguments, words):
    done = command("opcua-user", tmp_path / "users", *arguments)
    assert (done.exit_code, words in done.output) == (2, True)
    assert not (tmp_path / "users").exists()


@pytest.mark.parametrize(
    "line", ["scada", "scada admin scrypt$1$1$1$AA==$AA==", "a read md5$1$1$1$AA==$AA==", "a b c d"]
)
def test_an_error_in_the_file_of_users_names_its_line(tmp_path, line):
    (tmp_path / "users").write_text(f"# users\n{line}\n", "utf-8")
    with pytest.raises(UsersUnusable, match="users, line 2: expected a new name"):
        read_users(tmp_path / "users")


def test_files_that_are_not_usable_say_so_before_the_door_opens(tmp_path):
    command("opcua-certificate", tmp_path / "one")
    command("opcua-certificate", tmp_path / "two")
    files = {"certificate": tmp_path / "one" / "certificate.der", "trusted": tmp_path}
    for key, words in (
        (tmp_path / "none.pem", "none.pem cannot be read"),
        (tmp_path / "two" / "key.pem", "is not the RSA key of"),
        (tmp_path / "one" / "certificate.der", "expected a private key in PEM"),
    ):
        settings = OpcUaSettings(key=key, anonymous="read", **files)
        with pytest.raises(DoorClosed, match=words):
            read_guard(settings)
    key = tmp_path / "one" / "key.pem"
    with pytest.raises(DoorClosed, match="nobody cannot be read"):
        read_guard(OpcUaSettings(key=key, users=tmp_path / "nobody", **files))
    assert read_guard(OpcUaSettings(key=key, anonymous="read", **files))[1] is not None


SECURED = {"certificate": "a", "key": "b", "trusted": "c"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "name certificate, key and trusted"),
        (SECURED, "nobody could log in"),
        ({"certificate": "a", "users": "u"}, "belong together"),
        ({**SECURED, "anonymous": "read", "host": "10.0.0.1"}, "for this machine alone"),
        ({"no_security": True, "users": "u", "host": "0.0.0.0"}, "for this machine alone"),
        ({**SECURED, "users": "u", "no_security": True, "host": "::"}, "for this machine alone"),
        ({**SECURED, "users": "u", "anonymous": "admin"}, "'read' or 'command'"),
    ],
)
def test_unsafe_settings_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        OpcUaSettings(**values)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_trials_on_this_machine_need_no_certificates(host):
    assert OpcUaSettings(host=host, no_security=True, anonymous="command").users is None
