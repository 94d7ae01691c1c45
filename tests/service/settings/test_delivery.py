"""The sinks' settings: file and variable together, faults by their place, no secret repeated."""

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import DeliverySettings, Settings
from service.settings.secrets import SecretUnreadable
from service.settings.sinks import (
    CommonSettings,
    FolderSettings,
    MqttSettings,
    PostgresqlSettings,
    TlsSettings,
    WebhookSettings,
)
from tests.documents.examples import examples_in

FILE = """\
# results for the plant
[sinks.mes]
type = "mqtt"
host = "broker.example"
max_per_s = 50

[sinks.archive]
type = "postgresql"
url = "postgresql://mambaad@db.example/mambaad"
password_file = "db-password"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "delivery.toml"

    def write(text: str):
        path.write_text(text, "utf-8")
        return path

    return write


def fault(**settings) -> str:
    """Return the message of settings that are refused."""
    with pytest.raises(ValidationError) as refused:
        DeliverySettings(**settings)
    return "; ".join(error["msg"] for error in refused.value.errors())


def test_without_settings_there_are_no_sinks():
    assert Settings().delivery == DeliverySettings()
    assert Settings().delivery.sinks == {}


def test_sinks_come_from_the_file_and_the_variable(file, monkeypatch):
    monkeypatch.setenv("MAMBAAD_DELIVERY__FILE", str(file(FILE)))
    more = {"mes": {"host": "other.example"}, "files": {"type": "folder", "path": "results"}}
    monkeypatch.setenv("MAMBAAD_DELIVERY__SINKS", json.dumps(more))
    sinks = Settings().delivery.sinks
    assert sorted(sinks) == ["archive", "files", "mes"]
    mes = sinks["mes"]
    assert isinstance(mes, MqttSettings)
    assert (mes.host, mes.max_per_s, mes.port_or_default) == ("other.example", 50, 1883)
    assert isinstance(sinks["archive"], PostgresqlSettings)
    assert isinstance(sinks["files"], FolderSettings)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[sinks.mes]\ntype = "mqtt"\nhost = "h"\nport = 99999\n', "line 4: [sinks.mes] port: "),
        ('\n\n[sinks.mes]\ntype = "mqtt"\n', "line 3: [sinks.mes] host: Field required"),
        ('[sinks.mes]\ntype = "mqt"\nhost = "h"\n', "line 2: [sinks.mes] type: "),
        ('[sinks.mes]\nhost = "h"\n', "line 1: [sinks.mes] type: "),
        ('[sinks."a b"]\ntype = "folder"\npath = "p"\n', "line 1: [sinks.a b]: expected a"),
        ('[sink.mes]\ntype = "mqtt"\n', "line 1: expected tables [sinks.NAME], got 'sink'"),
        ("[sinks]\nmes = 3\n", "line 2: expected a table [sinks.mes]"),
        ("[sinks.mes\n", "is not TOML: "),
        ('[sinks.f]\ntype = "folder"\npath = "p"\n[sinks.g]\ntype = "folder"\npath = "p"\n',
         "expected another path for each sink of type folder"),
    ],
)  # fmt: skip
def test_a_fault_in_the_file_is_named_by_its_place(file, text, place):
    message = fault(file=file(text))
    assert place in message
    assert "expected another path" in message or str(file(text)) in message


def test_a_fault_in_the_variable_is_named_by_sink_and_key():
    hook = {"type": "webhook", "url": "ftp://x", "secret_file": "s"}
    message = fault(sinks={"hook": hook})
    assert message.endswith(
        "MAMBAAD_DELIVERY__SINKS: hook url: expected a URL that begins with http://"
    )
    assert "is not JSON" in fault(sinks='{"hook": ')
    assert "expected an object" in fault(sinks="[]")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    assert "cannot be read: No such file" in fault(file=tmp_path / "gone.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "expected UTF-8" in fault(file=binary)


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ({"type": "mqtt", "host": "h", "topic": "a/{nothing}"}, "expected fields of category"),
        ({"type": "mqtt", "host": "h", "topic": "a/#"}, "without `+`, `#`"),
        ({"type": "mqtt", "host": "h", "topic": "a/{site"}, "braces in pairs"),
        ({"type": "mqtt", "host": "h", "topic": "a}/{site}"}, "braces in pairs"),
        ({"type": "mqtt", "host": "h", "state_topic": "a/{station}"}, "topic of the service"),
        ({"type": "mqtt", "host": "h", "ca_file": "ca.pem"}, "expected tls = true"),
        ({"type": "mqtt", "host": "h", "tls": True, "key_file": "k"}, "certificate_file and"),
        ({"type": "mqtt", "host": "h", "password_file": "p"}, "expected username"),
        ({"type": "mqtt", "host": "h", "backoff_s": 60}, "max_backoff_s of at least"),
        ({"type": "mqtt", "host": "h", "events": []}, "at least 1 item"),
        ({"type": "webhook", "url": "http://x"}, "bodies are signed"),
        (
            {"type": "webhook", "url": "http://x", "secret_file": "s", "secret_variable": "S"},
            "got both",
        ),
        ({"type": "postgresql", "url": "mysql://x"}, "begins with postgresql://"),
        ({"type": "folder"}, "Field required"),
    ],
)  # fmt: skip
def test_sinks_that_cannot_work_are_refused(sink, message):
    assert message in fault(sinks={"mes": sink})


@pytest.mark.parametrize(
    "sink",
    [
        {"type": "mqtt", "host": "h", "username": "u", "password": "hunter2"},
        {"type": "webhook", "url": "https://u:hunter2@x/", "secret_file": "s"},
        {"type": "postgresql", "url": "postgresql://u:hunter2@x/y"},
        {"type": "folder", "path": "p", "hunter": {"secret": "hunter2"}},
    ],
)
def test_a_secret_that_is_misplaced_is_refused_and_not_repeated(sink, monkeypatch):
    monkeypatch.setenv("MAMBAAD_DELIVERY__SINKS", json.dumps({"mes": sink}))
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in "".join(error["msg"] for error in refused.value.errors())


def test_secrets_are_read_from_files_and_variables(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_text(" hunter2 \r\n", "utf-8")
    of_file = WebhookSettings(type="webhook", url="http://x", secret_file=path)
    assert of_file.secret().get_secret_value() == " hunter2 "
    assert "hunter2" not in repr(of_file.secret())
    monkeypatch.setenv("HOOK_SECRET", "hunter3")
    of_variable = WebhookSettings(type="webhook", url="http://x", secret_variable="HOOK_SECRET")
    assert of_variable.secret().get_secret_value() == "hunter3"
    assert of_variable.token() is None
    path.write_text("\n", "utf-8")
    with pytest.raises(SecretUnreadable, match="is empty"):
        of_file.secret()
    path.unlink()
    with pytest.raises(SecretUnreadable, match="cannot be read"):
        of_file.secret()
    monkeypatch.delenv("HOOK_SECRET")
    assert "HOOK_SECRET" not in os.environ
    with pytest.raises(SecretUnreadable, match="the variable HOOK_SECRET is empty or not set"):
        of_variable.secret()


def test_sinks_need_an_archive(tmp_path):
    sinks = {"files": {"type": "folder", "path": "results"}}
    without = Settings(delivery=DeliverySettings(sinks=sinks))
    assert any("there is none" in line for line in without.contradictions())
    versions = {"state_dir": tmp_path}
    assert not Settings.model_validate(
        {"delivery": {"sinks": sinks}, "versions": versions}
    ).contradictions()


def test_the_example_of_the_settings_page_works(file):
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text("utf-8")
    (example,) = [
        example for example in examples_in(page, "settings.md") if example.language == "toml"
    ]
    sinks = DeliverySettings(file=file(example.text)).sinks
    assert {name: sink.type for name, sink in sinks.items()} == {
        "mes": "mqtt",
        "archive": "postgresql",
    }


@pytest.mark.parametrize(
    "model", [CommonSettings, TlsSettings, MqttSettings, WebhookSettings, FolderSettings,
              PostgresqlSettings],
)  # fmt: skip
def test_the_settings_page_names_every_key_of_a_sink(model):
    page = Path(__file__).parents[3] / "docs" / "settings.md"
    _, _, section = page.read_text("utf-8").partition("## Sinks")
    rows = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert set(model.model_fields) - rows == set()
