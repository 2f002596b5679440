"""Clients that send events in every size until they are acknowledged, give some up, and keep their ledgers."""

import asyncio
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from acceptance.ledger import ClientLedger

_LARGE_BYTES = 70_000


@dataclass
class Totals:
    """What all clients did."""

    acknowledged: int = 0
    requests: int = 0
    failed_requests: int = 0
    aborted: int = 0
    repeated: int = 0
    removed_objects: int = 0


@dataclass
class Client:
    """One producer.

    Attributes:
        name: begins the ids of its events.
        base_url: of the ingest service.
        api_key: opens it.
        ledger: its own account.
        objects: the folder of the object store, where it plays saboteur.
        chance: decides what it does next.
        totals: what it adds to.
        enough: whether it may end.
    """

    name: str
    base_url: str
    api_key: str
    ledger: ClientLedger
    objects: Path
    chance: random.Random
    totals: Totals
    enough: Callable[[], bool]
    _made: int = field(default=0, init=False)

    async def run(self, events: int) -> None:
        """Send at least so many events, and go on slowly until it is enough."""
        headers = {"authorization": f"Bearer {self.api_key}"}
        async with httpx.AsyncClient(base_url=self.base_url, headers=headers, timeout=10.0) as http:
            while self._made < events or not self.enough():
                slow = self._made >= events
                count = self.chance.randint(1, 20) if slow else self.chance.choice((1, 1, 1, 5, 20, 50, 150))
                await self._deliver(http, self._events(count))
                await asyncio.sleep(self.chance.uniform(0.1, 0.4) if slow else self.chance.uniform(0.0, 0.03))

    def _events(self, count: int) -> list[dict[str, object]]:
        events: list[dict[str, object]] = []
        for _ in range(count):
            self._made += 1
            data: dict[str, object] = {"n": self._made}
            if self.chance.random() < 0.003:
                data["large"] = self.chance.randbytes(_LARGE_BYTES // 2).hex()
            events.append(
                {
                    "specversion": "1.0",
                    "id": f"{self.name}-{self._made}",
                    "source": f"/clients/{self.name}",
                    "type": "ledger.entry",
                    "data": data,
                }
            )
        return events

    async def _deliver(self, http: httpx.AsyncClient, events: list[dict[str, object]]) -> None:
        """Send until acknowledged; after an abort perhaps never again."""
        ids = [str(event["id"]) for event in events]
        content, content_type = self._encode(events)
        self.ledger.sends(ids)
        tries = 0
        while True:
            tries += 1
            give_up = self.chance.uniform(0.0, 0.03) if self.chance.random() < 0.04 else None
            answer = await self._post(http, content, content_type, give_up)
            if answer is not None and answer.status_code == 202:
                break
            assert answer is None or answer.status_code in {429, 503}, answer.text
            self.totals.failed_requests += 1
            if give_up is not None and self.chance.random() < 0.5:
                return
            await asyncio.sleep(self.chance.uniform(0.05, 0.4))
        assert answer.json()["accepted"] == len(ids), answer.text
        self.ledger.acknowledged(ids)
        self.totals.acknowledged += len(ids)
        if self.chance.random() < 0.05:
            self.totals.repeated += 1
            await self._post(http, content, content_type, None)
        elif tries == 1:  # else a second copy of the event may be on its way, stored or parked by itself
            self._sabotage(events)

    def _encode(self, events: list[dict[str, object]]) -> tuple[bytes, str]:
        if len(events) == 1:
            return json.dumps(events[0]).encode(), "application/cloudevents+json"
        if self.chance.random() < 0.5:
            return json.dumps(events).encode(), "application/cloudevents-batch+json"
        return b"\n".join(json.dumps(event).encode() for event in events), "application/x-ndjson"

    async def _post(
        self, http: httpx.AsyncClient, content: bytes, content_type: str, give_up_after_s: float | None
    ) -> httpx.Response | None:
        self.totals.requests += 1
        try:
            async with asyncio.timeout(give_up_after_s):
                return await http.post("/v1/events", content=content, headers={"content-type": content_type})
        except TimeoutError:
            self.totals.aborted += 1
            return None
        except httpx.HTTPError:
            return None

    def _sabotage(self, events: list[dict[str, object]]) -> None:
        """Take some large objects away: their events are stored already, or end as dead letters."""
        for event in events:
            data = event["data"]
            if isinstance(data, dict) and "large" in data and self.chance.random() < 0.5:
                digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()
                for path in self.objects.rglob(digest):
                    path.unlink(missing_ok=True)
                    self.totals.removed_objects += 1
