"""Access keys of the object store and of SQS are replaced while large events come in, at a gate that checks."""

import itertools
import uuid
from pathlib import Path

import httpx
import pytest
from aiobotocore.session import get_session

from aws.gate import gate
from aws.servers import REGION, Ministack
from fluxa.apps.ingest import ingest
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.postgres.pool import Database
from integration.process.rotation.stand import Files, Heard, load, posting, rotates, running

pytestmark = [pytest.mark.req("SEC-5")]

OLD, NEW = ("AKIAOLDOLDOLDOLD", "the secret of the old key"), ("AKIANEWNEWNEWNEW", "the secret of the new key")
_LARGE = "x" * 3000


async def _bucket(url: str) -> str:
    made = get_session().create_client(
        "s3", endpoint_url=url, region_name=REGION, aws_access_key_id=OLD[0], aws_secret_access_key=OLD[1]
    )
    name = f"rotation-{uuid.uuid4().hex[:12]}"
    async with made as client:
        await client.create_bucket(Bucket=name)
    return name


@rotates("object_store_access_key_id", "object_store_secret_access_key", "sqs_access_key_id", "sqs_secret_access_key")
async def test_access_keys_are_replaced_while_events_come(
    ministack: Ministack, database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    key = (await ApiKeys(database).create("acme", "ci", role=Role.INTEGRATION)).token
    numbers, files = itertools.count(), Files(tmp_path)

    def event() -> object:
        number = next(numbers)
        return {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "/t",
            "type": "t",
            "data": {"n": number, "x": _LARGE},
        }

    async with gate(ministack.url, dict([OLD])) as objects, gate(ministack.url, dict([OLD])) as queues:
        for kind in ("object_store", "sqs"):
            files.write(f"{kind}_access_key_id", OLD[0])
            files.write(f"{kind}_secret_access_key", OLD[1])
        chosen = files.settings(
            database_url=database.config.url,
            ingest_port=unused_tcp_port,
            claim_check_over_bytes=1024,
            queue_engine="sqs",
            sqs_endpoint=queues.url,
            sqs_region=REGION,
            sqs_prefix=f"t{uuid.uuid4().hex[:8]}-",
            object_store_url=f"s3://{await _bucket(objects.url)}/large",
            object_store_endpoint=objects.url,
            object_store_region=REGION,
        )
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"}
        async with (
            running(ingest, chosen, unused_tcp_port) as url,
            httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as client,
            load() as calls,
        ):
            calls.begin(posting(client, "/v1/events", event, expect=202))
            await calls.more()
            for kind, at in (("object_store", objects), ("sqs", queues)):
                at.keys = dict([OLD, NEW])
                files.write(f"{kind}_access_key_id", NEW[0])
                await at.until(at.refused, NEW[0])  # half a pair: tried, and not taken
                await heard.refused(f"{kind}_access_key_id")
                await calls.more()
                files.write(f"{kind}_secret_access_key", NEW[1])
                # The bucket of large data, and the one that takes what is too large for SQS.
                await heard.taken_up(f"{kind}_secret_access_key", times=2 if kind == "object_store" else 1)
                await at.until(at.passed, NEW[0], 3)
                at.keys = dict([NEW])
                await calls.more()
                assert not at.refused[OLD[0]]
