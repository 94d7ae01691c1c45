"""Certificates and keys as they come: missing, mismatched, encrypted, expired, renewed."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from service.http.tls.certificate import Certificate, CertificateUnusable
from service.http.tls.validity import validity_of
from service.settings import HttpSettings
from tests.certificates import write_pair


def opened(pair, metrics, **more):
    return Certificate(HttpSettings(**pair.settings, **more), metrics)


def expiry(metrics):
    return metrics.registry.get_sample_value("mambaad_tls_certificate_expiry_timestamp_seconds")


@pytest.mark.parametrize("days", [-1, 1, 10_000, 100_000])  # 2050 begins another form of time
def test_the_validity_is_that_of_the_certificate(tmp_path, days):
    text = write_pair(tmp_path, days=days).certificate.read_text("ascii")
    certificate = x509.load_pem_x509_certificate(text.encode())
    times = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    assert validity_of(f"a comment\n{text}{text}") == times


@pytest.mark.parametrize("count", [0, 1, 4, 40, 90])
def test_a_certificate_that_is_cut_off_is_refused(tmp_path, count):
    content = ssl.PEM_cert_to_DER_cert(write_pair(tmp_path).certificate.read_text("ascii"))
    with pytest.raises(ValueError, match="no validity"):
        validity_of(ssl.DER_cert_to_PEM_cert(content[:count]))


def test_a_certificate_serves_and_its_expiry_is_a_metric(tmp_path, metrics, caplog):
    assert expiry(metrics) == 0
    certificate = opened(write_pair(tmp_path, days=20), metrics)
    assert certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
    ends = datetime.now(UTC) + timedelta(days=20)
    assert expiry(metrics) == pytest.approx(ends.timestamp(), abs=600)
    assert not caplog.records


def test_what_cannot_be_used_is_refused_with_its_name(tmp_path, metrics):
    pair, other = write_pair(tmp_path), write_pair(tmp_path, "other")
    locked = write_pair(tmp_path, "locked", password=b"sesame")
    word = tmp_path / "word"
    word.write_text("wrong\n", "utf-8")
    gone, text = tmp_path / "gone", tmp_path / "text"
    text.write_text("hello", "utf-8")
    for certificate, key, password, reason in [
        (gone, pair.key, None, f"the certificate {gone} cannot be read: No such file"),
        (pair.certificate, gone, None, f"the key {gone} cannot be read: No such file"),
        (tmp_path, pair.key, None, "Is a directory"),
        (text, pair.key, None, f"the certificate {text} cannot be used: there is no PEM"),
        (pair.certificate, text, None, "no PEM certificate and key"),
        (pair.certificate, other.key, None, f"the key {other.key} does not belong to"),
        (locked.certificate, locked.key, None, "is encrypted: name a file"),
        (locked.certificate, locked.key, gone, f"the password {gone} cannot be read"),
        (locked.certificate, locked.key, word, f"the password in {word}"),
    ]:
        settings = HttpSettings(
            tls_certificate=certificate, tls_key=key, tls_key_password_file=password
        )
        with pytest.raises(CertificateUnusable) as refusal:
            Certificate(settings, metrics)
        assert reason in str(refusal.value)
    word.write_text("sesame\n", "utf-8")
    opened(locked, metrics, tls_key_password_file=word)


@pytest.mark.parametrize(
    ("days", "mode", "warning"),
    [(-1, 0o600, "expired on"), (9, 0o644, "others may read"), (9, 0o620, "others may read")],
)
def test_what_is_only_bad_is_warned_of(tmp_path, metrics, caplog, days, mode, warning):
    pair = write_pair(tmp_path, days=days)
    pair.key.chmod(mode)
    opened(pair, metrics)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert warning in record.getMessage()


def test_a_clock_that_is_behind_is_warned_of(tmp_path, metrics, caplog, monkeypatch):
    class Early(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr("service.http.tls.certificate.datetime", Early)
    opened(write_pair(tmp_path), metrics)
    assert "check the clock" in caplog.text


def test_a_renewed_certificate_is_read_and_a_broken_one_is_not(tmp_path, metrics, caplog):
    pair = write_pair(tmp_path, days=5)
    certificate = opened(pair, metrics)
    first, at_first = certificate.context, expiry(metrics)
    asyncio.run(certificate.follow())
    assert certificate.context is first
    key = pair.key.read_bytes()
    write_pair(tmp_path, days=50)
    new_key = pair.key.read_bytes()
    pair.key.write_bytes(key)  # the new key is not there yet
    for _ in range(2):
        asyncio.run(certificate.follow())
    assert certificate.context is first
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert expiry(metrics) == at_first
    pair.key.write_bytes(new_key)
    asyncio.run(certificate.follow())
    assert certificate.context is not first
    assert expiry(metrics) > at_first + 40 * 86_400
    pair.certificate.unlink()
    asyncio.run(certificate.follow())
    assert "No such file" in caplog.records[-1].getMessage()
