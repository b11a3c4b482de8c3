"""A Temporal server on which a run continues as new after a few polls; one that is reached through a proxy."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server
from tests.harness.temporal_proxy import TemporalProxy, temporal_proxy

SHORT_LIFE = 10
"""Polls after which a run on that server has continued another, once."""


@pytest.fixture(scope="session")
async def short_lived() -> AsyncIterator[DevServer]:
    """Start a server that suggests to continue as new after 100 events of a history; the default is 4,096."""
    limit = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100")
    async with dev_server(extra_args=[*PROMPT_TIMERS, *limit]) as server:
        yield server


@pytest.fixture
async def proxy(temporal: DevServer) -> AsyncIterator[TemporalProxy]:
    async with temporal_proxy(temporal.address) as running:
        yield running


@pytest.fixture
async def through(proxy: TemporalProxy) -> Client:
    """Connect through the proxy."""
    return await connect(address=proxy.address)
