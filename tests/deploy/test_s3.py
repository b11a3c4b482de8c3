"""What the bucket is given, taken by a local S3."""

import json
from collections.abc import Iterator
from typing import Any

import boto3  # type: ignore[import-untyped]  # It ships no types.
import pytest
from moto.server import ThreadedMotoServer

from tests.deploy.compose import ROOT

FOLDER = ROOT / "deploy" / "s3"
ACCOUNT = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def client(service: str, endpoint: str) -> Any:
    return boto3.client(service, endpoint_url=endpoint, **ACCOUNT)


def test_a_bucket_takes_the_lifecycle_for_unfinished_uploads(endpoint: str) -> None:
    s3 = client("s3", endpoint)
    s3.create_bucket(Bucket="bucket")
    lifecycle = json.loads((FOLDER / "lifecycle.json").read_text())

    s3.put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration=lifecycle)

    [rule] = s3.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
    s3.close()
    assert rule["Status"] == "Enabled"
    assert rule["Filter"] == {"Prefix": ""}
    assert 1 <= rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] <= 7
    assert "Expiration" not in rule


def test_an_account_takes_the_policy_of_a_worker(endpoint: str) -> None:
    iam = client("iam", endpoint)
    policy = (FOLDER / "policy.json").read_text()

    made = iam.create_policy(PolicyName="message-batches", PolicyDocument=policy)

    iam.close()
    assert made["Policy"]["Arn"].endswith(":policy/message-batches")
