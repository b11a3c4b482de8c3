"""A local S3, in moto's server: its address, a client of it, and the options that open a store there.

moto and boto3 take seconds of CPU to import, so only the processes of pytest that need an S3 import them.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

KEYS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
"""The credentials that it accepts, as options of a store."""


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[tuple["ThreadedMotoServer", str]]:
    """Start a server, which a test may stop, and yield it with its address."""
    server = importlib.import_module("moto.server").ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield server, f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def client(endpoint: str, service: str = "s3") -> Iterator[Any]:
    """Return a client of one of its services."""
    access = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    connected = importlib.import_module("boto3").client(service, endpoint_url=endpoint, **access)
    try:
        yield connected
    finally:
        connected.close()


@contextmanager
def buckets(*names: str) -> Iterator[Any]:
    """Create buckets on a server, and return a client of it."""
    with serving() as (_, endpoint), client(endpoint) as connected:
        for name in names:
            connected.create_bucket(Bucket=name)
        yield connected
