"""Buckets and addresses without a network: nobody gets more than a bucket holds, and nobody waits in vain."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals
from fluxa.web.limits import DEFAULTS, Addresses, BucketRule, Limiter, MemoryWindows, RateLimitedError, networks
from fluxa.web.limits.rules import Window, used, wait_s
from fluxa.web.routes import Bucket


@given(
    limit=st.integers(1, 50),
    window_s=st.integers(1, 100),
    pauses=st.lists(st.floats(0, 150, allow_nan=False), min_size=1, max_size=200),
)
def test_no_client_gets_more_than_twice_a_bucket_in_any_window_nor_more_than_one_in_its_own(
    limit: int, window_s: int, pauses: list[float]
) -> None:
    """A sliding window of two parts is a little generous at its seam and never more than that."""
    clock, rule = ManualClock(), BucketRule(limit, window_s)
    windows = MemoryWindows(clock)
    passed: list[float] = []
    for pause in pauses:
        clock.advance(pause / max(1, limit))
        if windows.hit("public", "me", rule)[0]:
            passed.append(clock.monotonic())
    for first, after in zip(passed, passed[limit:], strict=False):
        assert after > first  # never more than the limit at one moment
    for first, after in zip(passed, passed[2 * limit :], strict=False):
        assert after - first >= window_s * (1 - 1e-9)


@given(
    limit=st.integers(1, 20),
    window_s=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_who_waits_as_long_as_it_is_told_passes_and_who_comes_much_earlier_does_not(
    limit: int, window_s: int, seed: int
) -> None:
    clock, rule, chance = ManualClock(), BucketRule(limit, window_s), random.Random(seed)  # noqa: S311 - spreads
    windows = MemoryWindows(clock)
    for _ in range(200):
        clock.advance(chance.random() * window_s / limit)
        passes, window = windows.hit("public", "me", rule)
        if passes:
            continue
        told_s = wait_s(rule, window)
        assert 0 <= told_s <= 2 * window_s
        if told_s > 0.01:
            clock.advance(told_s / 2)
            early, window = windows.hit("public", "me", rule)
            assert not early
            told_s = wait_s(rule, window)
        clock.advance(math.ceil(told_s) or 1)
        assert windows.hit("public", "me", rule)[0]


@given(
    previous=st.integers(0, 100),
    current=st.integers(0, 100),
    share=st.floats(0, 1),
    limit=st.integers(1, 100),
)
def test_what_is_waited_for_is_enough(previous: int, current: int, share: float, limit: int) -> None:
    rule, left_s = BucketRule(limit, 60), 60 * share
    window = Window(previous, left_s, current, left_s + 60)
    told_s = math.ceil(wait_s(rule, window)) + 1e-6
    if told_s <= left_s:
        later = Window(previous, left_s - told_s, current, left_s + 60 - told_s)
    else:
        later = Window(current, max(0.0, left_s + 60 - told_s), 0, 0.0)
    assert used(rule, later) < limit


async def test_headers_count_down_and_a_refusal_says_when() -> None:
    clock = ManualClock()
    limiter = Limiter({Bucket.EMAIL: BucketRule(2, 60)}, clock=clock)
    assert await limiter.take(Bucket.EMAIL, "a") == (
        (b"ratelimit-policy", b'"email";q=2;w=60'),
        (b"ratelimit", b'"email";r=1;t=60'),
    )
    clock.advance(10)
    assert (await limiter.take(Bucket.EMAIL, "a"))[1] == (b"ratelimit", b'"email";r=0;t=50')
    with pytest.raises(RateLimitedError) as refused:
        await limiter.take(Bucket.EMAIL, "a")
    assert refused.value.headers[1] == (b"ratelimit", b'"email";r=0;t=50')
    assert refused.value.retry_after_s == 50
    assert (await limiter.take(Bucket.EMAIL, "b"))[1] == (b"ratelimit", b'"email";r=1;t=60')
    assert (await limiter.take(Bucket.PUBLIC, "a"))[1] == (b"ratelimit", b'"public";r=99;t=60')


def test_memory_is_bounded_and_the_quiet_are_forgotten_first() -> None:
    clock, rule = ManualClock(), BucketRule(1, 60)
    windows = MemoryWindows(clock, clients_max=3)
    for client in "abc":
        assert windows.hit("public", client, rule)[0]
    assert not windows.hit("public", "a", rule)[0]
    assert windows.hit("public", "d", rule)[0]
    assert len(windows) == 3
    assert not windows.hit("public", "a", rule)[0]
    clock.advance(121)
    windows.hit("public", "e", rule)
    assert len(windows) <= 3


class _Away:
    def __init__(self) -> None:
        self.away = True
        self.asked = 0

    async def hit(self, _bucket: str, _client: str, _rule: BucketRule) -> tuple[bool, Window]:
        self.asked += 1
        if self.away:
            raise FluxaError(ErrorCode.PROVIDER_UNAVAILABLE)
        return True, Window(0, 0.0, 1, 120.0)


@pytest.mark.req("STATION-buckets")
async def test_in_an_outage_an_open_bucket_counts_by_itself_and_a_closed_one_passes_nothing() -> None:
    clock, signals, shared = ManualClock(), Signals(), _Away()
    limiter = Limiter({Bucket.PUBLIC: BucketRule(2)}, shared=shared, clock=clock, hook=signals.hear)
    for _ in range(2):
        await limiter.take(Bucket.PUBLIC, "a")
    with pytest.raises(RateLimitedError):
        await limiter.take(Bucket.PUBLIC, "a")
    assert shared.asked == 1  # who finds it away does not make everybody wait for it
    with pytest.raises(FluxaError, match="ProviderUnavailable"):
        await limiter.take(Bucket.LOGIN, "a")
    shared.away = False
    clock.advance(2)
    await limiter.take(Bucket.PUBLIC, "a")
    kinds = [type(signal) for signal in signals.heard]
    assert kinds == [OutageBegan, OutageEnded]


@pytest.mark.req("STATION-buckets")
def test_every_bucket_has_a_rule() -> None:
    assert set(DEFAULTS) == set(Bucket)
    assert not Limiter().counts(Bucket.EVENTS)
    assert (DEFAULTS[Bucket.EMAIL].limit, DEFAULTS[Bucket.PUBLIC].limit, DEFAULTS[Bucket.QUEUE_WORKER].limit) == (
        20,
        100,
        60,
    )


def _scope(peer: str | None, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": (peer, 1) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", ("1.2.3.4",), "203.0.113.9"),  # not a proxy of ours: what it says does not count
        ("10.0.0.1", ("1.2.3.4",), "1.2.3.4"),
        ("10.0.0.1", ("6.6.6.6, 1.2.3.4",), "1.2.3.4"),  # what the client wrote itself stands in front
        ("10.0.0.1", ("6.6.6.6", "1.2.3.4, 10.0.0.7"), "1.2.3.4"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("1.2.3.4, nonsense",), "10.0.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("[2001:db8:1:2:3::4]:443",), "2001:db8:1:2:3::4"),
        ("10.0.0.1", ("1.2.3.4:5555",), "1.2.3.4"),
        (None, ("1.2.3.4",), "local"),
        ("unix", ("1.2.3.4",), "local"),
    ],
)
def test_a_client_cannot_choose_its_address(peer: str | None, forwarded: tuple[str, ...], found: str) -> None:
    assert Addresses(networks(["10.0.0.0/8"])).of(_scope(peer, *forwarded)) == found


def test_without_trusted_proxies_only_the_connection_counts() -> None:
    assert Addresses().of(_scope("10.0.0.1", "1.2.3.4")) == "10.0.0.1"


def test_one_site_is_one_client_however_many_addresses_it_has() -> None:
    addresses = Addresses()
    assert addresses.client(_scope("2001:db8:1:2::5")) == addresses.client(_scope("2001:db8:1:2:ffff::9"))
    assert addresses.client(_scope("2001:db8:1:3::5")) != addresses.client(_scope("2001:db8:1:2::5"))
    for one, other in pairwise(("192.0.2.1", "192.0.2.2", "192.0.2.3")):
        assert addresses.client(_scope(one)) != addresses.client(_scope(other))
    assert addresses.client(_scope("fe80::1%eth0")) == "fe80::/64"


def test_a_network_that_cannot_be_read_is_named() -> None:
    with pytest.raises(FluxaError, match=r"10\.0\.0\.0/99"):
        networks(["10.0.0.0/99"])
