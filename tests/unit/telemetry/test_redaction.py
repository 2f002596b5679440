"""No secret reaches a log line, whatever it stands in; what is none is left as it is."""

import base64
import io
import json
import secrets
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from fluxa.kernel.ids import new_correlation_id, uuid7
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.redaction import HIDDEN, is_secret_name, redacted, redacted_text

_BEGIN = "-----BEGIN PRIVATE key-----".upper()
_ALNUM = string.ascii_letters + string.digits
_URL_SAFE = st.text(_ALNUM + "-_", min_size=24, max_size=64)
_PASSWORD = st.text(_ALNUM + "!$%*+-._~", min_size=6, max_size=40)


def _jwt(subject: str) -> str:
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, {"sub": subject}, OctKey.import_key("k" * 32))


def _pem(body: bytes) -> str:
    text = base64.encodebytes(body).decode()
    return f"{_BEGIN}\n{text}{_BEGIN.replace('BEGIN', 'END')}"


_SECRETS = st.one_of(
    st.binary(min_size=8, max_size=8).map(lambda key: f"fx_{key.hex()}_{secrets.token_urlsafe(32)}"),
    st.text(_ALNUM, min_size=1, max_size=20).map(_jwt),
    st.binary(min_size=24, max_size=64).map(lambda raw: "whsec_" + base64.b64encode(raw).decode()),
    st.sampled_from(["sk_live_", "rk_live_", "sk_test_"]).flatmap(
        lambda start: st.text(_ALNUM, min_size=16, max_size=99).map(start.__add__)
    ),
    st.tuples(st.text(_ALNUM, min_size=8, max_size=8), st.text(_ALNUM, min_size=24, max_size=24)).map(
        lambda parts: f"re_{parts[0]}_{parts[1]}"
    ),
    st.binary(min_size=32, max_size=400).map(_pem),
)
_AROUND = st.text(string.ascii_lowercase + " .,:;!?()", max_size=40)


def _logged(**fields: object) -> str:
    stream = io.StringIO()
    make_logger("ingest", stream=stream).warning("something", **fields)
    line = stream.getvalue()
    json.loads(line)
    return line


def _core(secret: str) -> str:
    """A part of it that no accident makes."""
    return secret.splitlines()[1][:20] if secret.startswith("-----") else secret[-12:]


@pytest.mark.req("PIPE-10", "SEC-5")
@given(secret=_SECRETS, before=_AROUND, after=_AROUND)
def test_a_secret_is_known_by_its_shape_wherever_it_stands(secret: str, before: str, after: str) -> None:
    text = f"{before} {secret} {after}"
    nested = {"errors": [{"said": text}, (text,)]}
    for line in (
        _logged(detail=text),
        _logged(what=nested),
        _logged(what=ValueError(text)),
        _logged(what=text.encode()),
    ):
        assert _core(secret) not in line.replace("\\n", "\n").replace("\\\\n", "\n")
        assert HIDDEN in line


@pytest.mark.req("SEC-5")
@given(password=_PASSWORD, scheme=st.sampled_from(["postgresql", "postgres", "redis", "amqps"]), before=_AROUND)
def test_the_password_of_a_url_is_hidden_and_its_host_is_not(password: str, scheme: str, before: str) -> None:
    said = redacted_text(f"{before} {scheme}://someone:{password}@db.example:5432/name refused")
    assert f"{scheme}://someone:{HIDDEN}@db.example:5432/name refused" in said


@pytest.mark.req("SEC-5")
@given(token=_URL_SAFE, scheme=st.sampled_from(["Bearer", "bearer", "BEARER", "Basic"]))
def test_what_stands_behind_bearer_is_hidden(token: str, scheme: str) -> None:
    assert token not in _logged(detail=f"answered 401 to {scheme} {token}")
    assert token not in _logged(detail=f"'Authorization': '{scheme} {token}'")


@pytest.mark.req("SEC-5")
@given(value=_PASSWORD, name=st.sampled_from(["password", "api_key", "client_secret", "access_token", "sslpassword"]))
def test_a_value_is_hidden_by_the_name_before_it(value: str, name: str) -> None:
    for text in (f"{name}={value}", f"{name}: {value}", f'{{"{name}": "{value}"}}', f"?x=1&{name}={value}&y=2"):
        assert value not in redacted_text(text), text


@pytest.mark.req("PIPE-10", "SEC-5")
@pytest.mark.parametrize(
    "name",
    [
        "password",
        "apiKey",
        "api_key",
        "X-Auth-Token",
        "cron_secret",
        "cron_secrets",
        "Authorization",
        "set-cookie",
        "private_key",
        "secretAccessKey",
        "database_dsn",
        "token",
        "bearer",
    ],
)
def test_a_field_is_known_by_its_name(name: str) -> None:
    assert is_secret_name(name)
    line = json.loads(_logged(**{name: "plain", "deep": {name: ["plain", 4]}}))
    assert line[name] == HIDDEN
    assert line["deep"] == {name: HIDDEN}


@pytest.mark.parametrize(
    "name", ["key", "key_id", "token_id", "event_id", "tokens_used", "queue", "detail", "secretary", "name"]
)
def test_what_only_speaks_of_a_secret_is_left(name: str) -> None:
    assert not is_secret_name(name)


@given(st.text(string.ascii_lowercase + " ", max_size=200))
def test_words_are_left_as_they_are(text: str) -> None:
    if not any(word in text for word in ("bearer", "basic")):
        assert redacted_text(text) == text


def test_ids_and_addresses_are_left_as_they_are() -> None:
    for text in (
        new_correlation_id(),
        uuid7(),
        "http://127.0.0.1:8700/v1/events?limit=3",
        "fluxa up --port 0",
        "2026-11-22T06:43:00.000Z",
        "relation pgmq.q_events does not exist",
        "/var/lib/files:with-a-colon",
    ):
        assert redacted(text) == text


@pytest.mark.parametrize(
    "piece",
    ["a://b:", "bearer ", "password=", _BEGIN, "eyJaaaaaa.", "re_aaaaaa", "x" * 50 + "_"],
)
def test_a_hostile_line_costs_no_more_than_its_length(piece: str) -> None:
    began_s = time.perf_counter()
    redacted_text(piece * (200_000 // len(piece)))
    assert time.perf_counter() - began_s < 5.0
