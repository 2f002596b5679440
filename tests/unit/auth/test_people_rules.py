"""What is one password however it is typed, and which addresses of an OpenID provider are used."""

import unicodedata

import pytest
from argon2.profiles import CHEAPEST

from fluxa.auth.people.oidc.provider import _address
from fluxa.auth.people.passwords import Passwords
from fluxa.auth.people.rules import PASSWORD_MAX, check_new_password
from fluxa.kernel.errors import FluxaError

pytestmark = pytest.mark.req("SEC-1")


@pytest.mark.parametrize("letter", ["é", "ệ", "각", "ö"])
async def test_a_long_password_is_right_however_a_keyboard_composes_it(letter: str) -> None:
    composed = letter * PASSWORD_MAX
    written = unicodedata.normalize("NFD", composed)
    assert len(written) > PASSWORD_MAX + 1
    passwords = Passwords(CHEAPEST)
    for new in (composed, written):
        check_new_password(new)
        stored = await passwords.hash(new)
        assert await passwords.is_right(stored, composed)
        assert await passwords.is_right(stored, written)
        assert not await passwords.is_right(stored, written + "x")
        assert not await passwords.is_right(stored, written[:-1])


def test_what_no_login_could_send_is_no_password() -> None:
    with pytest.raises(FluxaError, match="characters"):
        check_new_password("a" + "\u0300" * (4 * PASSWORD_MAX))
    with pytest.raises(FluxaError, match="characters"):
        check_new_password("a" * (PASSWORD_MAX + 1))


@pytest.mark.parametrize(
    ("issuer", "url", "is_used"),
    [
        ("https://id.example", "https://elsewhere.example/token", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001/token", True),
        ("https://id.example", "http://127.0.0.1:6379/", False),
        ("https://id.example", "http://[::1]:6379/", False),
        ("https://127.0.0.1:8000", "http://127.0.0.1:6379/", False),
        ("https://id.example", "http://id.example/token", False),
        ("http://127.0.0.1:8000", "http://192.0.2.1/token", False),
        ("https://id.example", "file:///etc/passwd", False),
        ("https://id.example", "https://[", False),
        ("https://id.example", 7, False),
    ],
)
def test_a_provider_elsewhere_sends_us_to_nobody_on_this_machine(issuer: str, url: object, is_used: bool) -> None:  # noqa: FBT001 - a case
    if is_used:
        assert _address({"token_endpoint": url}, "token_endpoint", issuer) == url
    else:
        with pytest.raises(FluxaError, match="not an https address"):
            _address({"token_endpoint": url}, "token_endpoint", issuer)
