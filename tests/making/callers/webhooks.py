"""Every scheme of webhooks with secrets of its form, for tests that go through all of them."""

import base64
from collections.abc import Mapping, Sequence

from nacl.signing import SigningKey

from fluxa.auth.webhooks import Message, Scheme, SchemeName, open_scheme
from fluxa.auth.webhooks.template import HmacForm

NOW_S = 1_795_330_000
BODY = b'{"id":"evt_0001","type":"invoice.paid","data":{"name":"K\xc3\xa4te"}}'
DISCORD_KEY = SigningKey(bytes(range(32)))
STANDARD_KEY = SigningKey(bytes(range(1, 33)))
FORM = HmacForm(
    signature_header="X-Shop-Signature",
    prefix="v0=",
    encoding="base64",
    timestamp_header="X-Shop-Time",
    timestamp_unit="ms",
    id_header="X-Shop-Id",
    template="v0:{timestamp}:{id}:{body}",
)
WHSEC = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER_WHSEC = "whsec_" + base64.b64encode(bytes(range(1, 25))).decode()
WHSK = "whsk_" + base64.b64encode(bytes(STANDARD_KEY)).decode()
OTHER_WHSK = "whsk_" + base64.b64encode(bytes(range(2, 34))).decode()

SECRETS: Mapping[str, tuple[SchemeName, str, str]] = {
    "stripe": (SchemeName.STRIPE, "whsec_stripe_newest_0001", "whsec_stripe_before_0001"),
    "standard": (SchemeName.STANDARD, WHSEC, OTHER_WHSEC),
    "standard v1a": (SchemeName.STANDARD, WHSK, OTHER_WHSK),
    "svix": (SchemeName.SVIX, WHSEC, OTHER_WHSEC),
    "supabase": (SchemeName.SUPABASE, f"v1,{WHSEC}", f"v1,{OTHER_WHSEC}"),
    "github": (SchemeName.GITHUB, "the newest secret of GitHub", "the secret of GitHub before"),
    "vercel": (SchemeName.VERCEL, "the newest secret of Vercel", "the secret of Vercel before"),
    "discord": (SchemeName.DISCORD, f"seed:{bytes(DISCORD_KEY).hex()}", f"seed:{bytes(range(3, 35)).hex()}"),
    "header": (SchemeName.HEADER, "the newest secret of a header", "the secret of a header before"),
    "hmac": (SchemeName.HMAC, "the newest secret of the shop", "the secret of the shop before"),
}
"""By a name for the test: the scheme, a secret, and another one."""

TIMED = ("stripe", "standard", "standard v1a", "svix", "supabase", "discord", "hmac")
"""Those that sign the time."""


def scheme(name: str, *places: int) -> Scheme:
    """A scheme with some of its two secrets, in this order; with the first, if none is named."""
    kind, *secrets = SECRETS[name]
    return open_scheme(kind, [secrets[place] for place in places or (0,)], form=FORM)


def as_sent(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as a server hands them on."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def signed(name: str, *, body: bytes = BODY, at_s: float = NOW_S, place: int = 0, message_id: str = "msg_1") -> Message:
    """A webhook that is right."""
    return Message(as_sent(scheme(name, place).sign(body, message_id=message_id, now_s=at_s)), body)


def without(message: Message, name: bytes) -> Message:
    """The same without a header."""
    return Message([pair for pair in message.headers if pair[0] != name], message.body)


def names(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The headers' names."""
    return [name for name, _ in headers]
