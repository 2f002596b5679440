"""Two real stations on one database, and the people of it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fluxa.apps.serving.people import People, know_people
from fluxa.auth.people.users import User
from fluxa.auth.roles import Role
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.kernel.clock import SystemClock
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from identity.serving import served

PHRASE = "correct horse battery"
LOGIN, REFRESH = "/api/auth/login", "/api/auth/refresh"


@dataclass
class Town:
    """Two stations and the people of one database."""

    clients: list[httpx.AsyncClient]
    people: People

    async def user(self, name: str, role: Role, tenant: str = "default") -> User:
        return await self.people.users.create(tenant, name, PHRASE, role=role, by="cli")

    async def login(self, name: str, password: str = PHRASE) -> httpx.Response:
        return await self.clients[0].post(LOGIN, json={"name": name, "password": password})

    async def pair(self, name: str) -> dict[str, Any]:
        answer = await self.login(name)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def everywhere(self, token: str, path: str = "/api/auth/me") -> list[int]:
        """What both stations answer to a token, one after the other."""
        return [(await client.get(path, headers=bearing(token))).status_code for client in self.clients]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextlib.asynccontextmanager
async def town(database: Database, folder: Path, ports: list[int], **more: object) -> AsyncIterator[Town]:
    """Both stations, ready; what they count of clients is out of the way unless the test wants it."""
    loose = {"login": {"limit": 0}, "failed_credentials": {"limit": 0}}
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(served("station", database, folder, port, **{"buckets": loose, **more}))
            for port in ports
        ]
        clock = SystemClock()
        yield Town(clients, know_people(database, PostgresSessions(database, clock), Ledger(database), clock))
