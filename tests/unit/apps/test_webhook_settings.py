"""Senders of webhooks come from the file or as JSON, are checked when they are read, and hide their secrets."""

from pathlib import Path

import pytest

from fluxa.apps import settings
from fluxa.apps.settings.text import rows
from fluxa.auth.webhooks import Message
from fluxa.kernel.errors import ErrorCode, FluxaError
from making.callers.webhooks import BODY, NOW_S, WHSEC, signed

pytestmark = pytest.mark.req("STATION-auth")

FILE = f"""
[webhook_secrets.stripe]
secrets = ["whsec_stripe_newest_0001", "whsec_stripe_before_0001"]

[webhook_secrets.resend]
scheme = "svix"
secrets = ["{WHSEC}"]
tolerance_s = 60

[webhook_secrets.shop]
scheme = "hmac"
secrets = ["the newest secret of the shop"]
signature_header = "X-Shop-Signature"
timestamp_header = "X-Shop-Time"
template = "{{timestamp}}.{{body}}"
encoding = "base64"
"""


def load(folder: Path, text: str = "", **variables: str) -> settings.Effective:
    (folder / "fluxa.toml").write_text(text, "utf-8")
    return settings.load({"home": str(folder)}, environment=variables, working_folder=folder)


def test_tables_of_the_file_open_schemes(tmp_path: Path) -> None:
    sources = load(tmp_path, FILE).settings.webhook_secrets
    assert list(sources) == ["stripe", "resend", "shop"]
    stripe = sources["stripe"].opened("stripe")
    assert [stripe.verify(signed("stripe", place=place), now_s=NOW_S).place for place in (0, 1)] == [0, 1]
    assert sources["resend"].opened("resend").verify(signed("svix"), now_s=NOW_S).message_id == "msg_1"
    shop = sources["shop"].opened("shop")
    headers = [
        (name.lower().encode(), value.encode()) for name, value in shop.sign(BODY, message_id="", now_s=5).items()
    ]
    assert shop.verify(Message(headers, BODY), now_s=5).signed_at_s == 5
    assert sources["resend"].window_s == 180


def test_a_child_process_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.FILE_VARIABLE, raising=False)
    parent = load(tmp_path, FILE).settings
    child = settings.environment_of(parent)
    again = settings.load(environment={name: value for name, value in child.items() if name.startswith("FLUXA_")})
    assert again.settings == parent


def test_secrets_are_there_but_not_shown(tmp_path: Path) -> None:
    row = next(row for row in rows(load(tmp_path, FILE)) if row["name"] == "webhook_secrets")
    assert "whsec" not in row["value"]
    assert "newest" not in row["value"]
    assert '"secrets":["****","****"]' in row["value"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"stripe": {"secrets": ["hush"]}}', "webhook_secrets.stripe"),
        ('{"stripe": {"secrets": []}}', "at least one secret"),
        ('{"shop": {"secrets": ["hush hush hush hush"]}}', "needs a scheme"),
        ('{"shop": {"secrets": ["hush hush hush hush"], "scheme": "hush"}}', "scheme"),
        ('{"shop": {"secrets": ["hush hush hush hush"], "scheme": "hmac", "template": "{id}{body}"}}', "{id}"),
        ('{"github": {"secrets": ["hush hush hush hush"], "tolerance_s": 0}}', "tolerance_s"),
        ('{"github": {"secret": "hush hush hush hush"}}', "secret"),
    ],
)
def test_what_fits_no_sender_is_refused_and_not_shown(tmp_path: Path, value: str, said: str) -> None:
    with pytest.raises(FluxaError) as caught:
        load(tmp_path, FLUXA_WEBHOOK_SECRETS=value)
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert "webhook_secrets" in caught.value.detail
    assert said in caught.value.detail
    assert "hush hush" not in caught.value.detail
