"""The policy and the lifecycle of the bucket, applied to a local S3."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from message_batches.errors import StoreUnavailable
from message_batches.storage.object_store import PART_BYTES, ObjectStore, open_store
from tests.harness.local_s3 import client, serving
from tests.harness.project import ROOT

FOLDER = ROOT / "deploy" / "s3"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with serving() as (_, address):
        yield address


def test_a_bucket_takes_the_lifecycle_for_unfinished_uploads(endpoint: str) -> None:
    lifecycle = json.loads((FOLDER / "lifecycle.json").read_text())
    with client(endpoint) as s3:
        s3.create_bucket(Bucket="bucket")

        s3.put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration=lifecycle)

        [rule] = s3.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["Filter"] == {"Prefix": ""}
    assert 1 <= rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] <= 7
    assert "Expiration" not in rule


def policy(*without: str) -> dict[str, Any]:
    """Return the worker's policy without some actions."""
    read: dict[str, Any] = json.loads((FOLDER / "policy.json").read_text())
    for statement in read["Statement"]:
        statement["Action"] = [each for each in listed(statement["Action"]) if each not in without]
    return {**read, "Statement": [statement for statement in read["Statement"] if statement["Action"]]}


def listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


@contextmanager
def store_under(policy: dict[str, Any], endpoint: str, bucket: str) -> Iterator[ObjectStore]:
    """Open a store in a fresh bucket, with an account that has only the rights of the policy."""
    user, document = f"worker-{uuid4()}", json.dumps(policy).replace("BUCKET", bucket).replace("PREFIX", "prefix")
    with client(endpoint) as s3, client(endpoint, "iam") as iam:
        s3.create_bucket(Bucket=bucket)
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName="store", PolicyDocument=document)
        key = iam.create_access_key(UserName=user)["AccessKey"]
    config = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    # From the first call on, every one is checked against the policies.
    httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        yield open_store(f"s3://{bucket}/prefix", config={**config, "endpoint": endpoint, "region": "us-east-1"})
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"inf").raise_for_status()


@pytest.fixture
def bucket() -> str:
    return f"bucket-{uuid4()}"


def unfinished(endpoint: str, bucket: str) -> int:
    """Return the number of uploads that have left parts behind."""
    with client(endpoint) as s3:
        return len(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


async def parts(*, broken: bool = False) -> AsyncIterator[bytes]:
    """Upload in parts, and interrupt a second upload."""
    for _ in range(3):
        yield bytes(PART_BYTES)
    if broken:
        raise EOFError


async def use(store: ObjectStore) -> None:
    """Do everything that workers and starters do with a store, except a purge."""
    await store.identity()
    await store.write("manifests/a", parts())
    assert sum([len(chunk) async for chunk in store.stream("manifests/a")]) == 3 * PART_BYTES
    assert await store.names("manifests/") == ["manifests/a"]
    assert await store.create("intents/a", b"1")
    assert not await store.create("intents/a", b"2")
    with pytest.raises(EOFError):
        await store.write("manifests/b", parts(broken=True))


async def test_the_policy_is_enough_for_a_store_in_a_fresh_bucket(endpoint: str, bucket: str) -> None:
    with store_under(policy(), endpoint, bucket) as store:
        await use(store)

    assert unfinished(endpoint, bucket) == 0


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:ListBucket"])
async def test_the_policy_has_only_the_rights_that_a_store_needs(endpoint: str, bucket: str, action: str) -> None:
    with store_under(policy(action), endpoint, bucket) as store, pytest.raises(StoreUnavailable):
        await use(store)


async def test_without_the_right_to_end_an_upload_its_parts_stay(endpoint: str, bucket: str) -> None:
    with store_under(policy("s3:AbortMultipartUpload"), endpoint, bucket) as store:
        await use(store)

    assert unfinished(endpoint, bucket) == 1


def test_listing_has_no_condition_and_deleting_is_a_statement_of_its_own() -> None:
    by_action = {action: each for each in policy()["Statement"] for action in each["Action"]}

    # A local S3 answers 404 either way; S3 itself says 403 where a condition on the prefix is not met.
    assert "Condition" not in by_action["s3:ListBucket"]
    assert by_action["s3:DeleteObject"]["Action"] == ["s3:DeleteObject"]
    assert by_action["s3:DeleteObject"]["Resource"] == by_action["s3:GetObject"]["Resource"]
