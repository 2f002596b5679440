"""No delivery reaches an address that was not checked: names that change, TLS, private networks (QUEUE-13)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.vendors.http_endpoint import EndpointConfig
from integration.providers.deliveries import config, delivering
from integration.providers.receivers import Certificate, answering, certificate, receiver

pytestmark = pytest.mark.req("QUEUE-13")


class Names:
    """A resolver whose answers a test decides; it keeps what it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def public(port: int, *, scheme: str = "https") -> EndpointConfig:
    """An endpoint that is not the operator's own."""
    return replace(config(f"{scheme}://hooks.example:{port}/take"), allow_private=False)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"), "hooks.example", "127.0.0.1")


async def test_a_name_that_leads_inside_is_refused_and_nothing_is_sent(shown: Certificate) -> None:
    async with (
        receiver(answering(), tls=shown.server) as server,
        delivering(public(server.port), resolve=Names(["127.0.0.1"])) as out,
    ):
        error = await out.fails()
    assert error.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert "127.0.0.1" in error.detail
    assert server.connections == 0


@pytest.mark.parametrize("bad", ["10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00:ec2::254", "64:ff9b::7f00:1"])
async def test_one_bad_address_among_good_ones_is_enough(bad: str) -> None:
    names = Names(["93.184.215.14", bad])
    async with delivering(public(443), resolve=names) as out:
        error = await out.fails()
    assert bad in error.detail


async def test_a_name_is_asked_for_once_and_its_checked_address_is_used(shown: Certificate) -> None:
    """What rebinding needs is a second question; there is none, so the later answer is never used."""
    async with receiver(answering(), tls=shown.server) as server:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        trusting = replace(config(f"https://hooks.example:{server.port}/take"), ca_file=str(shown.authority_file))
        async with delivering(trusting, resolve=names) as out:
            await out.deliver()
            await out.deliver()
    assert names.asked == ["hooks.example"]
    assert [received.headers["host"] for received in server.received] == [f"hooks.example:{server.port}"] * 2


async def test_a_name_that_turns_private_later_is_refused_when_it_is_connected_to_again(shown: Certificate) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with receiver(answering(), tls=shown.server) as server:
        once = replace(
            config(f"https://hooks.example:{server.port}/take"), ca_file=str(shown.authority_file), dedupes=False
        )
        async with delivering(once, resolve=names) as out:
            await out.deliver()
            error = await out.fails()
    assert "169.254.169.254" in error.detail
    assert names.asked == ["hooks.example"] * 2


async def test_metadata_is_refused_to_operators_too() -> None:
    own = config("http://metadata.internal/latest")
    for address in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:a9fe:a9fe"):
        async with delivering(own, resolve=Names([address])) as out:
            assert address in (await out.fails()).detail


async def test_tls_is_checked_against_the_name_not_the_address(shown: Certificate, tmp_path: Path) -> None:
    other = certificate(tmp_path, "other.example")
    async with receiver(answering(), tls=other.server) as server:
        wrong_name = replace(config(f"https://hooks.example:{server.port}/take"), ca_file=str(other.authority_file))
        async with delivering(wrong_name, resolve=Names(["127.0.0.1"])) as out:
            error = await out.fails()
        assert error.code == ErrorCode.PROVIDER_UNAVAILABLE
        assert "other.example" in error.detail or "ertificate" in error.detail
        stranger = replace(wrong_name, ca_file=str(shown.authority_file))
        async with delivering(stranger, resolve=Names(["127.0.0.1"])) as out:
            assert "verify failed" in (await out.fails()).detail.lower()
    assert not server.received


async def test_a_name_that_names_nothing_and_an_address_that_does_not_answer_are_not_sent() -> None:
    async with receiver(answering()) as server:
        port = server.port
        own = config(f"http://hooks.example:{port}/take")
        async with delivering(own, resolve=Names([])) as out:
            assert (await out.fails()).code == ErrorCode.PROVIDER_UNAVAILABLE
        async with delivering(config("http://no-such-name.invalid/take")) as out:
            assert (await out.fails()).code == ErrorCode.PROVIDER_UNAVAILABLE
        # The second address is tried when the first refuses.
        async with delivering(own, resolve=Names(["127.0.0.2", "127.0.0.1"])) as out:
            await out.deliver()
    assert len(server.received) == 1


async def test_a_resolver_that_hangs_costs_the_time_out_and_nothing_was_sent() -> None:
    async def silent(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with delivering(replace(config("http://hooks.example/take"), timeout_s=0.2), resolve=silent) as out:
        assert (await out.fails()).code == ErrorCode.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://user:word@hooks.example/",
        "https:///take",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "https://hooks.example/#part",
        "https://hööks.example/",
        "file:///etc/passwd",
        "hooks.example",
    ],
)
async def test_a_url_that_is_no_endpoint_is_refused_at_once(url: str) -> None:
    with pytest.raises(FluxaError) as caught:
        async with delivering(replace(config(url), allow_private=False)):
            pass
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert "word" not in caught.value.detail.replace("password", "")


async def test_secrets_that_cannot_sign_are_refused_and_not_shown() -> None:
    for secret in ("hush", "whsec_hush", "whsec_aHVzaA=="):
        with pytest.raises(FluxaError) as caught:
            async with delivering(replace(config("https://hooks.example/"), secrets=(secret,))):
                pass
        assert caught.value.code == ErrorCode.CONFIGURATION
        assert secret not in caught.value.detail
    with pytest.raises(FluxaError, match="not shown"):
        async with delivering(replace(config("https://hooks.example/"), bearer="hu\nsh")):
            pass
