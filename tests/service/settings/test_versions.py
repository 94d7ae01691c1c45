"""The settings of the state that nodes share: what belongs together, and no password in a URL."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import AccessSettings, HttpSettings, Settings, StateSettings, VersionSettings

URL = "postgresql://mambaad@db.plant/mambaad?sslmode=verify-full&sslrootcert=ca.pem"


@pytest.mark.parametrize(
    "url", ["postgresql://a:b@db/x", "postgresql://db/x?password=b", "mysql://db/x", "db.plant"]
)
def test_a_url_of_another_database_or_with_a_password_is_refused(url):
    with pytest.raises(ValidationError, match="expected a URL"):
        StateSettings(url=url)


def test_the_parameters_of_tls_stay_in_the_url():
    assert StateSettings(url=URL).url == URL


def test_what_a_shared_state_needs_and_excludes():
    shared = StateSettings(url=URL)
    alone = Settings(
        state=shared,
        versions=VersionSettings(state_dir=None),
        access=AccessSettings(api_keys_file=Path("keys.json")),
    )
    lines = alone.contradictions()
    assert any("needs MAMBAAD_VERSIONS__STATE_DIR" in line for line in lines)
    assert any("then unset MAMBAAD_ACCESS__API_KEYS_FILE" in line for line in lines)
    whole = Settings(
        state=shared,
        versions=VersionSettings(state_dir=Path("state")),
        http=HttpSettings(host="0.0.0.0"),
        access=AccessSettings(metrics_require_key=True),
    )
    assert whole.contradictions() == []


def test_with_a_shared_state_every_caller_needs_a_key():
    state_dir = VersionSettings(state_dir=Path("state"))
    assert Settings(state=StateSettings(url=URL), versions=state_dir).needs_keys
    assert not Settings(versions=state_dir).needs_keys
