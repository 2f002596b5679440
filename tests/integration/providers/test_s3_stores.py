"""The object store suite over servers that speak S3: ministack and SeaweedFS (PIPE-6)."""

import contextlib
import uuid

import pytest
from aiobotocore.session import get_session

from aws.servers import KEY, REGION, SECRET, Program
from fluxa.kernel.errors import FluxaError
from fluxa.providers.object_store import ListedStore
from fluxa.providers.vendors.object_store import S3Options, open_objects
from fluxa.testing.object_store_conformance import CHECKS, Check

_BUCKET = "fluxa-tests"


def _options(server: Program) -> S3Options:
    return S3Options(server.url, REGION, KEY, SECRET, allow_http=True)


@pytest.fixture(params=["ministack", "seaweed"])
async def store(request: pytest.FixtureRequest) -> ListedStore:
    server: Program = request.getfixturevalue(request.param)
    made = get_session().create_client(
        "s3", endpoint_url=server.url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )
    async with made as client:
        with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            await client.create_bucket(Bucket=_BUCKET)
    # A prefix for each test: SeaweedFS sets disk space aside for each bucket.
    return open_objects(f"s3://{_BUCKET}/{uuid.uuid4().hex}", _options(server), timeout_s=30.0)


@pytest.mark.req("PIPE-6")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_a_bucket_conforms(check: Check, store: ListedStore) -> None:
    await check(store)


@pytest.mark.req("PIPE-6")
async def test_a_bucket_that_does_not_exist_is_an_outage_and_no_lost_object(seaweed: Program) -> None:
    with pytest.raises(FluxaError, match="ObjectStoreUnavailable"):
        await open_objects("s3://nobody-made-this/prefix", _options(seaweed)).get("t/a")
