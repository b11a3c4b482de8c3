"""Callers in a namespace of their own."""

from collections.abc import AsyncIterator

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import Callers, callers
from tests.harness.stack import Stack


@pytest.fixture
async def there(temporal: DevServer, live: Stack) -> AsyncIterator[Callers]:
    """Run callers of a worker whose batches end at once."""
    async with callers(await new_namespace(temporal, {}), live.client, live.task_queue) as running:
        yield running


@pytest.fixture
async def waiting_there(temporal: DevServer, pending: Stack) -> AsyncIterator[Callers]:
    """Run callers of a worker whose batches end when a test lets them."""
    async with callers(await new_namespace(temporal, {}), pending.client, pending.task_queue) as running:
        yield running
