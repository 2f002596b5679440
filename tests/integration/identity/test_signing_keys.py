"""Signing keys: succeeded with an overlap, retired at once, followed by every process without a restart."""

import asyncio

import pytest

from fluxa.auth.tokens.ring import RingLimits
from fluxa.auth.tokens.signing_keys import KeyState
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.testing.clock import ManualClock
from identity.tokens import UNHEARD, USER, Office, Recorder, office, parts, signing_keys


async def _knows(at: Office, kids: set[str]) -> None:
    """Wait until a process publishes exactly these keys."""
    async with asyncio.timeout(20):
        while {key["kid"] for key in at.ring.jwks()["keys"]} != kids:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.01)


async def _states(at: Office) -> dict[str, KeyState]:
    return {key.kid: key.state for key in await at.keys.all()}


@pytest.mark.req("SEC-1")
async def test_a_new_key_is_published_before_it_signs_and_the_old_one_verifies_after(database: Database) -> None:
    clock = ManualClock()
    async with (
        office(database, clock=clock, limits=UNHEARD) as one,
        office(database, clock=clock, limits=UNHEARD) as two,
    ):
        old_token = await one.tokens.mint(USER, ttl_s=3600)
        old = parts(old_token)[0]["kid"]
        new = (await one.keys.rotate(overlap_s=60, by="cli")).kid
        await _knows(one, {old, new})
        await _knows(two, {old, new})
        assert parts(await two.tokens.mint(USER, ttl_s=60))[0]["kid"] == old
        assert await _states(one) == {old: "active", new: "next"}
        clock.advance(61)
        new_token = await two.tokens.mint(USER, ttl_s=60)
        assert parts(new_token)[0]["kid"] == new
        assert await one.tokens.verify(new_token) == USER
        assert await one.tokens.verify(old_token) == USER
        clock.advance(3600 + 60)  # the longest token of the old key has ended, clocks that differ included
        assert [key["kid"] for key in two.ring.jwks()["keys"]] == [new]
        assert await two.tokens.verify(old_token) is None
        assert two.reasons == ["unknown_key"]


async def test_published_keys_hold_nothing_private(database: Database) -> None:
    async with office(database) as at:
        await at.tokens.mint(USER, ttl_s=60)
        (jwk,) = at.ring.jwks()["keys"]
        assert set(jwk) == {"kty", "crv", "x", "kid", "use", "alg"}


@pytest.mark.req("SEC-1")
async def test_a_retired_keys_tokens_fail_at_once_everywhere_and_another_key_signs(database: Database) -> None:
    async with office(database, limits=UNHEARD) as one, office(database, limits=UNHEARD) as two:
        token = await one.tokens.mint(USER, ttl_s=60)
        assert await two.tokens.verify(token) == USER
        old = parts(token)[0]["kid"]
        ended = await one.keys.retire(old, by="cli")
        assert ended is not None
        assert ended.state is KeyState.RETIRED
        async with asyncio.timeout(5):
            while await two.tokens.verify(token) is not None:  # noqa: ASYNC110 - nobody says when
                await asyncio.sleep(0)
        assert await one.keys.retire(old, by="cli") is None
        fresh = await one.tokens.mint(USER, ttl_s=60)
        async with asyncio.timeout(5):  # the key is new, and an unknown one is looked for twice a second at most
            while await two.tokens.verify(fresh) != USER:  # noqa: ASYNC110 - nobody says when
                await asyncio.sleep(0.05)
        row = await database.fetch_row("select sealed from fluxa.signing_keys where kid = $1", old)
        assert row is not None
        assert row["sealed"] is None


async def test_a_next_key_can_be_taken_back_and_takes_over_when_the_active_one_goes(database: Database) -> None:
    async with office(database) as at:
        await at.keys.ensure()
        (first,) = await _states(at)
        second = (await at.keys.rotate(by="cli")).kid
        with pytest.raises(FluxaError, match="under way") as refused:
            await at.keys.rotate(by="cli")
        assert refused.value.code == ErrorCode.REFUSED
        await at.keys.retire(second, by="cli")
        (kept, _) = await at.keys.all()
        assert (kept.kid, kept.state, kept.signs_until, kept.verifies_until) == (first, "active", None, None)
        third = (await at.keys.rotate(by="cli")).kid
        await at.keys.retire(first, by="cli")
        assert await _states(at) == {first: "retired", second: "retired", third: "active"}


async def test_several_processes_make_one_first_key(database: Database) -> None:
    async with office(database) as one, office(database) as two, office(database) as three:
        tokens = await asyncio.gather(*(at.tokens.mint(USER, ttl_s=60) for at in (one, two, three)))
        assert len({parts(token)[0]["kid"] for token in tokens}) == 1
        assert len(await one.keys.all()) == 1


async def test_an_unknown_key_costs_one_look_and_finds_what_is_new(database: Database) -> None:
    clock = ManualClock()
    async with office(database, clock=clock, limits=RingLimits(poll_s=3600)) as one:
        looks = 0
        usable = one.keys.usable

        async def counted() -> object:
            nonlocal looks
            looks += 1
            return await usable()

        one.keys.usable = counted  # type: ignore[method-assign,assignment]
        for number in range(50):
            assert await one.ring.find(f"nobody's {number}") is None
        assert looks == 1
        clock.advance(0.5)
        await asyncio.gather(*(one.ring.find(f"nobody's {number}") for number in range(50)))
        assert looks == 2
        # A process that heard nothing of a new key finds it when its first token comes.
        clock.advance(0.5)
        async with office(database, clock=clock) as two:
            token = await two.tokens.mint(USER, ttl_s=60)
        assert await one.tokens.verify(token) == USER


async def test_what_is_known_holds_for_a_while_without_postgres(database: Database) -> None:
    clock = ManualClock()
    async with office(database, clock=clock, limits=RingLimits(poll_s=3600, outage_s=600)) as at:
        token = await at.tokens.mint(USER, ttl_s=3600)
        await database.stop()
        clock.advance(599)
        assert await at.tokens.verify(token) == USER
        clock.advance(2)
        with pytest.raises(FluxaError, match="signing keys"):
            await at.tokens.verify(token)


@pytest.mark.req("SEC-3")
async def test_changes_of_keys_are_written_down_with_them(database: Database) -> None:
    audit = Recorder()
    keys = signing_keys(database, audit=audit)
    await keys.ensure()
    await keys.ensure()
    made = await keys.rotate(by="cli")
    await keys.retire(made.kid, by="cli")
    assert [(act.action, act.actor, act.tenant) for act in audit.acts] == [
        ("signing_key.created", "system", "default"),
        ("signing_key.created", "cli", "default"),
        ("signing_key.retired", "cli", "default"),
    ]


@pytest.mark.req("SEC-1", "SEC-5")
async def test_no_rightful_request_fails_while_keys_are_rotated_under_load(database: Database) -> None:
    async with office(database) as one, office(database) as two:
        await one.keys.ensure()
        refused: list[str] = []
        kids: set[str] = set()
        done = asyncio.Event()
        served = 0

        async def client(making: Office, checking: Office) -> None:
            nonlocal served
            while not done.is_set():
                token = await making.tokens.mint(USER, ttl_s=60)
                kids.add(parts(token)[0]["kid"])
                for _ in range(3):
                    if await checking.tokens.verify(token) != USER:
                        refused.append(token)
                    served += 1
                await asyncio.sleep(0)

        pairs = ((one, two), (two, one), (one, one), (two, two))
        async with asyncio.TaskGroup() as group:
            for making, checking in pairs:
                group.create_task(client(making, checking))
            for _ in range(5):
                made = await one.keys.rotate(overlap_s=0.3, by="cli")
                async with asyncio.timeout(20):
                    while made.kid not in kids:  # noqa: ASYNC110 - nobody says when
                        await asyncio.sleep(0.01)
            done.set()
        assert not refused
        assert len(kids) == 6
        assert served > 100
        assert not one.reasons + two.reasons
