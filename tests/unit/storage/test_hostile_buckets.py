"""Addresses that would lead out of a bucket's prefix: no caller can read objects outside it."""

from collections.abc import Iterator
from typing import Any

import pytest

from message_batches.errors import RequestsNotFound
from message_batches.requests.manifest import load_manifest
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness import local_s3

REQUEST = b'{"custom_id":"a","params":{}}\n'


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with local_s3.buckets("bucket", "other") as client:
        for name in ("bucket", "other"):
            for key in (f"{folder}requests.jsonl" for folder in ("", "team-a/", "team-a-and-b/", "team-b/")):
                client.put_object(Bucket=name, Key=key, Body=REQUEST)
        yield client


@pytest.fixture
def store(bucket: Any) -> ObjectStore:
    return open_store("s3://bucket/team-a", endpoint=bucket.meta.endpoint_url, **local_s3.KEYS)


async def test_an_object_in_the_prefix_is_read(store: ObjectStore) -> None:
    assert (await load_manifest(store, "s3://bucket/team-a/requests.jsonl")).count == 1


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/requests.jsonl",
        "s3://bucket/team-b/requests.jsonl",
        "s3://bucket/team-a-and-b/requests.jsonl",
        "s3://other/team-a/requests.jsonl",
        "s3://bucket/team-a/../requests.jsonl",
        "s3://bucket/team-a/../team-b/requests.jsonl",
        "s3://bucket/team-a/%2e%2e/requests.jsonl",
        "s3://bucket/team-a/%2e%2e%2frequests.jsonl",
        "s3://bucket/team-a/..%2frequests.jsonl",
        "s3://bucket/team-a/%252e%252e/requests.jsonl",
        "s3://bucket/team-a//requests.jsonl",
        "s3://bucket/team-a/./requests.jsonl",
        "s3://bucket/team-a/requests.jsonl?versionId=1",
        "s3://bucket/team-a/requests.jsonl#1",
        "s3://bucket/team-a/requests.jsonl\0",
        "s3://bucket@other/team-a/requests.jsonl",
        "S3://bucket/team-a/requests.jsonl",
        "gs://bucket/team-a/requests.jsonl",
        "https://bucket.s3.amazonaws.com/team-a/requests.jsonl",
        "file:///bucket/team-a/requests.jsonl",
        "s3://bucket/team-a",
        "s3://bucket/team-a/",
    ],
)
async def test_an_object_outside_the_prefix_is_not_read(store: ObjectStore, uri: str) -> None:
    with pytest.raises(RequestsNotFound, match="s3://bucket/team-a"):
        await load_manifest(store, uri)
